// A BPF ring buffer, mapped and read directly: libbpf's ring_buffer__consume goes on for as long
// as producers do, while this takes no more than it is asked for.
// The layout is the kernel's ABI (commit 457f44363a88): a page with the consumer's position, a
// page with the producer's, then the data, twice in a row so that no record is ever split.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

class Ring {
  public:
    // Throws NativeFailure.
    Ring(int map, size_t size);
    ~Ring();
    Ring(const Ring &) = delete;

    struct Taken {
        std::unique_ptr<uint8_t[]> bytes;
        size_t size = 0;
        // The limit was reached; more records are ready.
        bool more = false;
    };
    // Whole records end to end, up to `limit` bytes but at least one record if any is ready.
    // A record that is reserved and not yet submitted ends what is ready.
    Taken take(size_t limit);

    // Positions only grow. Everything below produced() has been reserved.
    uint64_t produced() const;
    uint64_t consumed() const { return consumed_; }

  private:
    uint32_t header_at(uint64_t position) const;

    size_t page_, size_;
    uint8_t *consumer_ = nullptr;
    uint8_t *producer_ = nullptr;
    const uint8_t *data_ = nullptr;
    uint64_t consumed_ = 0;
};
