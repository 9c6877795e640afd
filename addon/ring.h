// A BPF ring buffer, mapped and read directly: libbpf's ring_buffer__consume goes on for as long
// as producers do, while this takes no more than it is asked for.
// The layout is the kernel's ABI (commit 457f44363a88): a page with the consumer's position, a
// page with the producer's, then the data, twice in a row so that no record is ever split.
#pragma once

#include "transport.h"

class Ring : public Transport {
  public:
    // Throws NativeFailure.
    Ring(int map, size_t size);
    ~Ring() override;
    Ring(const Ring &) = delete;

    // A record that is reserved and not yet submitted ends what is ready.
    Taken take(size_t limit) override;
    uint64_t produced() const override;
    uint64_t consumed() const override { return consumed_; }

  private:
    uint32_t header_at(uint64_t position) const;

    size_t page_, size_;
    uint8_t *consumer_ = nullptr;
    uint8_t *producer_ = nullptr;
    const uint8_t *data_ = nullptr;
    uint64_t consumed_ = 0;
};
