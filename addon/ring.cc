#include "ring.h"

#include <linux/bpf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "errors.h"

static uint64_t load_acquire(const uint8_t *at) {
    return __atomic_load_n(reinterpret_cast<const uint64_t *>(at), __ATOMIC_ACQUIRE);
}

// Records begin at multiples of 8 with a header of 8 bytes.
static uint64_t record_end(uint64_t position, uint32_t length) {
    return position + (uint64_t{length} + BPF_RINGBUF_HDR_SZ + 7) / 8 * 8;
}

Ring::Ring(int map, size_t size) : page_(sysconf(_SC_PAGESIZE)), size_(size) {
    void *consumer = mmap(nullptr, page_, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
    if (consumer == MAP_FAILED)
        throw failure_of("BPF_FAILED", "Cannot map the ring buffer", errno);
    consumer_ = static_cast<uint8_t *>(consumer);
    void *producer =
        mmap(nullptr, page_ + 2 * size_, PROT_READ, MAP_SHARED, map, static_cast<off_t>(page_));
    if (producer == MAP_FAILED) {
        int error = errno;
        munmap(consumer_, page_);
        throw failure_of("BPF_FAILED", "Cannot map the ring buffer", error);
    }
    producer_ = static_cast<uint8_t *>(producer);
    data_ = producer_ + page_;
    consumed_ = load_acquire(consumer_);
}

Ring::~Ring() {
    munmap(producer_, page_ + 2 * size_);
    munmap(consumer_, page_);
}

uint64_t Ring::produced() const { return load_acquire(producer_); }

uint32_t Ring::header_at(uint64_t position) const {
    return __atomic_load_n(reinterpret_cast<const uint32_t *>(data_ + (position & (size_ - 1))),
                           __ATOMIC_ACQUIRE);
}

Transport::Taken Ring::take(size_t limit) {
    Taken taken;
    uint64_t end = consumed_, produced = this->produced();
    while (end < produced) {
        uint32_t header = header_at(end);
        if (header & BPF_RINGBUF_BUSY_BIT)
            break;
        uint32_t length = header & ~BPF_RINGBUF_DISCARD_BIT;
        if (!(header & BPF_RINGBUF_DISCARD_BIT)) {
            if (taken.size != 0 && taken.size + length > limit) {
                taken.more = true;
                break;
            }
            taken.size += length;
        }
        end = record_end(end, length);
    }
    if (taken.size != 0)
        taken.bytes = std::make_unique_for_overwrite<uint8_t[]>(taken.size);
    size_t copied = 0;
    for (uint64_t at = consumed_; at < end;) {
        uint32_t header = header_at(at);
        uint32_t length = header & ~BPF_RINGBUF_DISCARD_BIT;
        if (!(header & BPF_RINGBUF_DISCARD_BIT)) {
            std::memcpy(taken.bytes.get() + copied, data_ + (at & (size_ - 1)) + BPF_RINGBUF_HDR_SZ,
                        length);
            copied += length;
        }
        at = record_end(at, length);
    }
    if (end != consumed_) {
        consumed_ = end;
        // Gives the room back to the producers.
        __atomic_store_n(reinterpret_cast<uint64_t *>(consumer_), end, __ATOMIC_RELEASE);
    }
    return taken;
}
