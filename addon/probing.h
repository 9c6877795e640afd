// What the kernel's uprobes make of an x86-64 instruction: arch/x86/kernel/uprobes.c.
#pragma once

#include <Zydis/Zydis.h>

// It is executed inside the breakpoint, without a single step.
bool is_emulated(const ZydisDecodedInstruction &decoded);
// Kernels that optimise probes put a call in its place (commit ba2bfc97b462, Linux 6.18). It is the
// nop of five bytes that compilers make, and no other.
bool is_optimized(const ZydisDecodedInstruction &decoded);
// A probe on it is not refused.
bool takes_probe(const ZydisDecodedInstruction &decoded);
