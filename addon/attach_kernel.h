// Programs at functions of the kernel. As with uprobes, a link is the file descriptors that keep
// it.
#pragma once

#include <cstdint>
#include <vector>

#include "fd.h"

struct KernelSites {
    // Of the functions' first instructions, as /proc/kallsyms has them.
    std::vector<uint64_t> addresses;
    // Or their names.
    std::vector<const char *> names;
    std::vector<uint64_t> cookies;
    // The program runs when the functions return.
    bool returns = false;
};

// One link for any number of functions (Linux 5.18, commit 0dcac2725406). The program must have
// been loaded for it.
Fd attach_kprobe_multi(int program, const KernelSites &sites);

// Returns a file descriptor, or the negative errno.
int create_kprobe_multi_link(int program, const KernelSites &sites);

// A perf event for each function.
std::vector<Fd> attach_kprobe_perf(int program, const KernelSites &sites);

// A program of section fentry or fexit, at the function that it was loaded for.
Fd attach_trampoline(int program);
