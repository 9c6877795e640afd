#include "own_site.h"

#include <cinttypes>
#include <cstdio>
#include <fstream>

// It must have code of its own and do something.
extern "C" __attribute__((noinline, noclone, visibility("hidden"))) void underspan_try_hit() {
    asm volatile("nop" ::: "memory");
}

OwnSite own_site(uint64_t address) {
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
        uint64_t from, to, offset;
        int path = 0;
        if (sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64 " %*s %*s %n", &from, &to,
                   &offset, &path) == 3 &&
            path != 0 && address >= from && address < to)
            return {line.substr(path), address - from + offset};
    }
    return {};
}
