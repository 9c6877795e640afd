// What this kernel can do, found by trying: distributions backport, so versions say little.
#pragma once

#include <cstdint>
#include <optional>

struct Features {
    bool btf = false;
    bool ring_buffer = false;
    bool cookies = false;
    bool uprobe_multi = false;
    bool uprobe_multi_threads = false;
    bool uprobe_session = false;
    bool sleepable = false;
    bool atomics = false;
    bool finds_mappings = false;
    bool writes_registers = false;
    bool run_time_statistics = false;
    bool kprobes = false;
    bool kprobe_multi = false;
    bool fentry = false;
};

// Throws BPF_NOT_PERMITTED where nothing can be tried.
Features probe_features();

// How far the stack pointer that a kprobe sees at a function's return lies above that at its entry:
// it differs between kernels and kinds of probes. None where that cannot be tried.
std::optional<int64_t> return_distance(bool multi);

// BPF memory counts against RLIMIT_MEMLOCK.
bool counts_locked_memory();
