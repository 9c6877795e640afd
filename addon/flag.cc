#include "flag.h"

#include <linux/bpf.h>
#include <sys/mman.h>
#include <unistd.h>

#include "errors.h"

Flag::Flag(const Map &map) : page_(sysconf(_SC_PAGESIZE)) {
    int fd = map.fd();
    if (map.type() != BPF_MAP_TYPE_ARRAY || map.value_size() < sizeof(*word_))
        throw NativeFailure{"BPF_UNSUPPORTED", "Map " + map.name() + " has no flag", 0, ""};
    void *word = mmap(nullptr, page_, PROT_READ, MAP_SHARED, fd, 0);
    if (word == MAP_FAILED)
        throw failure_of("BPF_FAILED", "Cannot map " + map.name() + " into memory", errno);
    word_ = static_cast<uint32_t *>(word);
}

Flag::~Flag() { munmap(word_, page_); }
