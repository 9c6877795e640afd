// What a user calls a function whose name the linker knows mangled.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "itanium.h"

class Demangler {
  public:
    struct Names {
        std::string name;      // without parameters; as it was where it cannot be read
        std::string signature; // with them; empty where the language has none in its names
    };

    // Valid until the next call.
    const Names &demangle(std::string_view symbol);

  private:
    void demangle_cpp(std::string_view symbol);

    itanium::Tree tree_;
    Names names_;
    uint64_t steps_ = 0;
};
