// The first word of a BPF array, which our programs set to tell of something.
#pragma once

#include "maps.h"

class Flag {
  public:
    // With a mapping of its own, since a map may be closed while a thread still looks. Throws
    // NativeFailure.
    explicit Flag(const Map &map);
    ~Flag();
    Flag(const Flag &) = delete;

    bool is_set() const { return __atomic_load_n(word_, __ATOMIC_RELAXED) != 0; }

  private:
    size_t page_;
    uint32_t *word_ = nullptr;
};
