// What records come through from the kernel: a ring buffer, or a perf buffer for each CPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

class Transport {
  public:
    virtual ~Transport() = default;

    struct Taken {
        std::unique_ptr<uint8_t[]> bytes;
        size_t size = 0;
        // The limit was reached; more records are ready.
        bool more = false;
    };
    // Whole records end to end, in the order in which they were sent, up to `limit` bytes but at
    // least one record if any is ready.
    virtual Taken take(size_t limit) = 0;

    // Positions only grow. All that has been sent lies below produced(), which any thread may ask
    // for; all below consumed() has been taken.
    virtual uint64_t produced() const = 0;
    virtual uint64_t consumed() const = 0;
};
