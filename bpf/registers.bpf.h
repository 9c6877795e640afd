/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * The registers of a hit: by what Go's ABIInternal uses them for (Go 1.17+, abi-internal.md), and by
 * what the System V ABI does.
 */
#ifndef UNDERSPAN_REGISTERS_BPF_H
#define UNDERSPAN_REGISTERS_BPF_H

#include <linux/ptrace.h>

#define CARRY_FLAG (1 << 0)
#define ZERO_FLAG (1 << 6)

#define GO_G(regs) ((regs)->r14)
#define STACK_POINTER(regs) ((regs)->rsp)
#define FRAME_POINTER(regs) ((regs)->rbp)
#define INSTRUCTION_POINTER(regs) ((regs)->rip)

/* A jbe is about to fall through. */
static __always_inline bool jbe_falls_through(const struct pt_regs *regs)
{
	return !(regs->eflags & (CARRY_FLAG | ZERO_FLAG));
}

/* One load at a constant offset of the context, the only kind that the verifier allows: written
 * out, since the compiler merges the cases of a switch into one load at a computed address. */
#define LOAD_REGISTER(regs, field)                                                                 \
	({                                                                                         \
		__u64 value;                                                                       \
		asm volatile(                                                                      \
			"%[value] = *(u64 *)(%[base] + %[at])"                                     \
			: [value] "=r"(value)                                                      \
			: [base] "r"(regs), [at] "i"(__builtin_offsetof(struct pt_regs, field)));  \
		value;                                                                             \
	})

/* Integer argument word n; 0 for a register that the ABI does not use. */
static __always_inline __u64 go_argument(const struct pt_regs *regs, __u32 n)
{
	switch (n) {
	case 0:
		return LOAD_REGISTER(regs, rax);
	case 1:
		return LOAD_REGISTER(regs, rbx);
	case 2:
		return LOAD_REGISTER(regs, rcx);
	case 3:
		return LOAD_REGISTER(regs, rdi);
	case 4:
		return LOAD_REGISTER(regs, rsi);
	case 5:
		return LOAD_REGISTER(regs, r8);
	case 6:
		return LOAD_REGISTER(regs, r9);
	case 7:
		return LOAD_REGISTER(regs, r10);
	case 8:
		return LOAD_REGISTER(regs, r11);
	default:
		return 0;
	}
}

/* Integer argument word n, then the words of a result. */
static __always_inline __u64 native_argument(const struct pt_regs *regs, __u32 n)
{
	switch (n) {
	case 0:
		return LOAD_REGISTER(regs, rdi);
	case 1:
		return LOAD_REGISTER(regs, rsi);
	case 2:
	case 7:
		return LOAD_REGISTER(regs, rdx);
	case 3:
		return LOAD_REGISTER(regs, rcx);
	case 4:
		return LOAD_REGISTER(regs, r8);
	case 5:
		return LOAD_REGISTER(regs, r9);
	case 6:
		return LOAD_REGISTER(regs, rax);
	default:
		return 0;
	}
}

#endif
