// What <linux/bpf.h> of Linux 6.1 (Debian 12) does not have yet. Values are the kernel's ABI.
#pragma once

#include <linux/bpf.h>

#include <cstdint>

// Commit 89ae89f53d20 ("bpf: Add multi uprobe link"), Linux 6.6.
inline constexpr auto TRACE_UPROBE_MULTI = static_cast<bpf_attach_type>(48);

// Commit d920179b3d4c ("bpf: Add support for uprobe multi session attach"), Linux 6.13.
inline constexpr auto TRACE_UPROBE_SESSION = static_cast<bpf_attach_type>(57);

// The part of union bpf_attr that BPF_LINK_CREATE reads for such a link.
struct UprobeMultiAttr {
    uint32_t prog_fd;
    uint32_t target_fd;
    uint32_t attach_type;
    uint32_t link_flags;
    uint64_t path;
    uint64_t offsets;
    uint64_t ref_ctr_offsets;
    uint64_t cookies;
    uint32_t count;
    uint32_t flags;
    uint32_t pid;
    uint32_t pad;
};
static_assert(sizeof(UprobeMultiAttr) == 64);

// Commit 0dcac2725406 ("bpf: Add multi kprobe link"), Linux 5.18.
inline constexpr auto TRACE_KPROBE_MULTI = static_cast<bpf_attach_type>(42);
inline constexpr uint32_t KPROBE_MULTI_RETURN = 1;

// The part of union bpf_attr that BPF_LINK_CREATE reads for such a link.
struct KprobeMultiAttr {
    uint32_t prog_fd;
    uint32_t target_fd;
    uint32_t attach_type;
    uint32_t link_flags;
    uint32_t flags;
    uint32_t count;
    uint64_t symbols;
    uint64_t addresses;
    uint64_t cookies;
};
static_assert(sizeof(KprobeMultiAttr) == 48);
