#include "perf_buffers.h"

#include <bpf/bpf.h>
#include <linux/perf_event.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <fstream>
#include <string>

using namespace std::chrono_literals;

// Between a sample's time and its visibility a program runs a few hundred instructions, and may not
// be preempted; but a virtual CPU may.
static constexpr uint64_t HOLD_BACK_NS = 2'000'000;
// Of a sample, before its data: header, time, size.
static constexpr size_t SAMPLE_HEAD = 20;
// CPUs that come and go.
static constexpr auto WATCH_EVERY = 1s;

static uint64_t monotonic_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return uint64_t(now.tv_sec) * 1'000'000'000 + uint64_t(now.tv_nsec);
}

static Fd open_event(uint32_t cpu) {
    perf_event_attr attr{};
    attr.size = sizeof(attr);
    attr.type = PERF_TYPE_SOFTWARE;
    attr.config = PERF_COUNT_SW_BPF_OUTPUT;
    attr.sample_period = 1;
    attr.sample_type = PERF_SAMPLE_TIME | PERF_SAMPLE_RAW;
    attr.use_clockid = 1;
    attr.clockid = CLOCK_MONOTONIC;
    // As seldom as can be: the traced thread pays for it. The kernel takes no more than the size.
    attr.watermark = 1;
    attr.wakeup_watermark = UINT32_MAX;
    long fd = syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
    if (fd < 0)
        throw failure_of("BPF_FAILED", "Cannot open a perf event on CPU " + std::to_string(cpu),
                         errno);
    return Fd(static_cast<int>(fd));
}

PerfBuffer::PerfBuffer(uint32_t cpu, size_t size)
    : cpu_(cpu), event_(open_event(cpu)), page_(sysconf(_SC_PAGESIZE)), size_(size) {
    void *mapping =
        mmap(nullptr, page_ + size_, PROT_READ | PROT_WRITE, MAP_SHARED, event_.get(), 0);
    if (mapping == MAP_FAILED && errno == EPERM)
        throw NativeFailure{"BPF_UNSUPPORTED",
                            "Perf buffers of " + std::to_string(size_ >> 10) +
                                " KiB a CPU are more than may be locked in memory here: make them "
                                "smaller, raise kernel.perf_event_mlock_kb or ulimit -l, or grant "
                                "CAP_IPC_LOCK",
                            EPERM, ""};
    if (mapping == MAP_FAILED)
        throw failure_of("BPF_FAILED", "Cannot map a perf buffer", errno);
    mapping_ = static_cast<uint8_t *>(mapping);
}

PerfBuffer::~PerfBuffer() { munmap(mapping_, page_ + size_); }

bool PerfBuffer::look() {
    const auto *page = reinterpret_cast<const perf_event_mmap_page *>(mapping_);
    head_ = __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE);
    next_ = page->data_tail;
    return next_ != head_;
}

// Positions are multiples of 8, so that no word is split at the buffer's end.
uint64_t PerfBuffer::word_at(uint64_t position) const {
    uint64_t word;
    std::memcpy(&word, mapping_ + page_ + (position & (size_ - 1)), sizeof(word));
    return word;
}

bool PerfBuffer::next(Sample &sample) {
    while (next_ < head_) {
        uint64_t at = next_, word = word_at(at);
        perf_event_header header;
        std::memcpy(&header, &word, sizeof(header));
        if (header.size < sizeof(header) || header.size % 8 != 0 || header.size > head_ - at) {
            // Not the kernel's: nothing behind it can be told.
            next_ = head_;
            return false;
        }
        next_ += header.size;
        // PERF_RECORD_LOST among others: the programs count what they could not send.
        if (header.type != PERF_RECORD_SAMPLE || header.size < 24)
            continue;
        // The time, then 32 bits with the size of the data, which fill a word together with those
        // that pad it: records are multiples of 8.
        sample = {word_at(at + 8), at + SAMPLE_HEAD, header.size - size_t{24}};
        return true;
    }
    return false;
}

void PerfBuffer::copy(const Sample &sample, uint8_t *to) const {
    size_t at = sample.data & (size_ - 1);
    size_t before_end = std::min(sample.size, size_ - at);
    std::memcpy(to, mapping_ + page_ + at, before_end);
    std::memcpy(to + before_end, mapping_ + page_, sample.size - before_end);
}

void PerfBuffer::release(const Sample *but) {
    auto *page = reinterpret_cast<perf_event_mmap_page *>(mapping_);
    uint64_t position = but != nullptr ? but->data - SAMPLE_HEAD : next_;
    __atomic_store_n(&page->data_tail, position, __ATOMIC_RELEASE);
}

// A power of two of pages for each CPU, together no more than `size` if that can be.
static size_t share_of(size_t size) {
    size_t share = sysconf(_SC_PAGESIZE);
    size_t cpus = std::max<long>(1, sysconf(_SC_NPROCESSORS_ONLN));
    while (share * 2 * cpus <= size)
        share *= 2;
    return share;
}

PerfBuffers::PerfBuffers(int map, uint32_t cpus, size_t size)
    : map_(Fd::copy_of(map)), cpus_(cpus), size_(share_of(size)), buffers_(cpus),
      watched_(std::chrono::steady_clock::now()) {
    open_missing();
}

PerfBuffers::~PerfBuffers() {
    for (uint32_t cpu = 0; cpu < cpus_; cpu++)
        close(cpu);
}

void PerfBuffers::close(uint32_t cpu) {
    if (buffers_[cpu])
        bpf_map_delete_elem(map_.get(), &cpu);
    buffers_[cpu].reset();
}

void PerfBuffers::open_missing() {
    for (uint32_t cpu = 0; cpu < cpus_; cpu++) {
        if (buffers_[cpu])
            continue;
        try {
            auto buffer = std::make_unique<PerfBuffer>(cpu, size_);
            int event = buffer->event();
            if (bpf_map_update_elem(map_.get(), &cpu, &event, BPF_ANY) != 0)
                throw failure_of("BPF_FAILED", "Cannot set up a perf buffer", errno);
            buffers_[cpu] = std::move(buffer);
        } catch (const NativeFailure &failure) {
            if (failure.error_number != ENODEV)
                throw;
        }
    }
}

// "0-3,8" as the kernel writes it.
static std::vector<bool> online_cpus(uint32_t cpus) {
    std::vector<bool> online(cpus);
    std::ifstream file("/sys/devices/system/cpu/online");
    for (uint32_t first = 0, last = 0; file >> first; file.ignore(1, ',')) {
        last = first;
        if (file.peek() == '-')
            file.ignore(1) >> last;
        for (uint32_t cpu = first; cpu <= last && cpu < cpus; cpu++)
            online[cpu] = true;
    }
    return online;
}

// The event of a CPU that has gone stays dead when it comes back.
void PerfBuffers::watch_cpus() {
    auto now = std::chrono::steady_clock::now();
    if (now - watched_ < WATCH_EVERY)
        return;
    watched_ = now;
    std::vector<bool> online = online_cpus(cpus_);
    bool missing = false;
    for (uint32_t cpu = 0; cpu < cpus_; cpu++) {
        if (buffers_[cpu] && !online[cpu] && !buffers_[cpu]->look())
            close(cpu);
        missing = missing || (online[cpu] && !buffers_[cpu]);
    }
    if (!missing)
        return;
    try {
        open_missing();
    } catch (const NativeFailure &) {
        // What is sent on that CPU is counted as lost, and it is tried again.
    }
}

uint64_t PerfBuffers::produced() const { return monotonic_ns(); }

Transport::Taken PerfBuffers::take(size_t limit) {
    watch_cpus();
    // Before anything is looked at: what is older is visible.
    uint64_t until = monotonic_ns() - HOLD_BACK_NS;
    std::vector<Oldest> heap;
    for (const auto &buffer : buffers_) {
        PerfBuffer::Sample sample;
        if (!buffer || !buffer->look())
            continue;
        if (buffer->next(sample))
            heap.push_back({buffer.get(), sample});
        else
            buffer->release();
    }
    std::make_heap(heap.begin(), heap.end());
    Taken taken = take_until(until, limit, heap);
    if (!taken.more)
        consumed_ = until;
    return taken;
}

Transport::Taken PerfBuffers::take_until(uint64_t time, size_t limit, std::vector<Oldest> &heap) {
    Taken taken;
    std::vector<Oldest> order;
    std::vector<PerfBuffer *> emptied;
    while (!heap.empty() && heap.front().sample.time <= time) {
        std::pop_heap(heap.begin(), heap.end());
        Oldest &oldest = heap.back();
        if (taken.size != 0 && taken.size + oldest.sample.size > limit) {
            taken.more = true;
            break;
        }
        order.push_back(oldest);
        taken.size += oldest.sample.size;
        if (oldest.buffer->next(oldest.sample)) {
            std::push_heap(heap.begin(), heap.end());
        } else {
            emptied.push_back(oldest.buffer);
            heap.pop_back();
        }
    }
    if (taken.size == 0)
        return taken;
    taken.bytes = std::make_unique_for_overwrite<uint8_t[]>(taken.size);
    uint8_t *to = taken.bytes.get();
    for (const Oldest &each : order) {
        each.buffer->copy(each.sample, to);
        to += each.sample.size;
    }
    for (const Oldest &left : heap)
        left.buffer->release(&left.sample);
    for (PerfBuffer *buffer : emptied)
        buffer->release();
    return taken;
}
