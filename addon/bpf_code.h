// Small BPF programs, written by their instructions, that are loaded to try out what a kernel does.
#pragma once

#include <bpf/bpf.h>
#include <linux/bpf.h>

#include <cstdint>
#include <vector>

#include "fd.h"

using Instructions = std::vector<bpf_insn>;

inline bpf_insn instruction(int code, int to, int from, int16_t offset, int32_t immediate) {
    bpf_insn made{};
    made.code = static_cast<uint8_t>(code);
    made.dst_reg = to & 0xf;
    made.src_reg = from & 0xf;
    made.off = offset;
    made.imm = immediate;
    return made;
}

inline bpf_insn set(int reg, int32_t value) {
    return instruction(BPF_ALU64 | BPF_MOV | BPF_K, reg, 0, 0, value);
}
inline bpf_insn copy(int to, int from) {
    return instruction(BPF_ALU64 | BPF_MOV | BPF_X, to, from, 0, 0);
}
inline bpf_insn add(int reg, int32_t value) {
    return instruction(BPF_ALU64 | BPF_ADD | BPF_K, reg, 0, 0, value);
}
inline bpf_insn store(int reg, int16_t offset, int32_t value) {
    return instruction(BPF_ST | BPF_MEM | BPF_DW, reg, 0, offset, value);
}
inline bpf_insn call(int32_t helper) { return instruction(BPF_JMP | BPF_CALL, 0, 0, 0, helper); }
inline bpf_insn leave() { return instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0); }

inline Fd load(const Instructions &code, uint32_t flags = 0,
               bpf_attach_type type = static_cast<bpf_attach_type>(0)) {
    LIBBPF_OPTS(bpf_prog_load_opts, options);
    options.prog_flags = flags;
    options.expected_attach_type = type;
    // Uprobe programs are kprobe programs; the helpers tried here ask for a compatible licence.
    return Fd(bpf_prog_load(BPF_PROG_TYPE_KPROBE, "underspan_try", "GPL", code.data(), code.size(),
                            &options));
}
