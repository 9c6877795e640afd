// A perf buffer for each CPU, mapped and read directly: libbpf's perf_buffer goes CPU by CPU, so
// that a thread that moved to another would be told of in the wrong order.
//
// Each sample carries its time. Samples of all CPUs are merged by it, and held back for a moment: a
// program may have taken the time and not yet made its sample visible. So positions are times.
// The layout is the kernel's ABI (perf_event_open(2)): a page with positions, then the data.
#pragma once

#include <chrono>
#include <vector>

#include "fd.h"
#include "transport.h"

// The buffer of one CPU.
class PerfBuffer {
  public:
    // Throws NativeFailure; ENODEV: the CPU is not there.
    PerfBuffer(uint32_t cpu, size_t size);
    ~PerfBuffer();
    PerfBuffer(const PerfBuffer &) = delete;

    uint32_t cpu() const { return cpu_; }
    int event() const { return event_.get(); }

    struct Sample {
        uint64_t time;
        uint64_t data; // position
        size_t size;
    };
    // What is visible now is what next() goes through. False: nothing is.
    bool look();
    // False: there is no other.
    bool next(Sample &sample);
    void copy(const Sample &sample, uint8_t *to) const;
    // Gives the room of all that next() has gone through back to the kernel, but for a last sample.
    void release(const Sample *but = nullptr);

  private:
    uint64_t word_at(uint64_t position) const;

    uint32_t cpu_;
    Fd event_;
    size_t page_, size_;
    uint8_t *mapping_ = nullptr;
    uint64_t next_ = 0, head_ = 0;
};

class PerfBuffers : public Transport {
  public:
    // `map` is a perf event array, `size` that of all buffers together. Throws NativeFailure.
    PerfBuffers(int map, uint32_t cpus, size_t size);
    ~PerfBuffers() override;
    PerfBuffers(const PerfBuffers &) = delete;

    Taken take(size_t limit) override;
    uint64_t produced() const override;
    uint64_t consumed() const override { return consumed_; }

  private:
    // The oldest sample of a buffer that has not been taken.
    struct Oldest {
        PerfBuffer *buffer;
        PerfBuffer::Sample sample;
        bool operator<(const Oldest &other) const { return sample.time > other.sample.time; }
    };
    void open_missing();
    void close(uint32_t cpu);
    void watch_cpus();
    // Moves samples out of the heap.
    Taken take_until(uint64_t time, size_t limit, std::vector<Oldest> &heap);

    Fd map_;
    uint32_t cpus_;
    size_t size_;
    std::vector<std::unique_ptr<PerfBuffer>> buffers_; // by CPU; null: not there
    std::chrono::steady_clock::time_point watched_;
    uint64_t consumed_ = 0;
};
