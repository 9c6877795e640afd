// What this kernel can do, found by trying: distributions backport, so versions say little.
#pragma once

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
};

// Throws BPF_NOT_PERMITTED where nothing can be tried.
Features probe_features();

// BPF memory counts against RLIMIT_MEMLOCK.
bool counts_locked_memory();
