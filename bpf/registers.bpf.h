/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * The registers of a hit: by what Go's ABIInternal uses them for (Go 1.17+, abi-internal.md), and
 * by what the System V ABI does.
 */
#ifndef UNDERSPAN_REGISTERS_BPF_H
#define UNDERSPAN_REGISTERS_BPF_H

#include <linux/ptrace.h>

#define CARRY_FLAG (1 << 0)
#define PARITY_FLAG (1 << 2)
#define ZERO_FLAG (1 << 6)
#define SIGN_FLAG (1 << 7)
#define OVERFLOW_FLAG (1 << 11)

#define GO_G(regs) ((regs)->r14)
#define STACK_POINTER(regs) ((regs)->rsp)
#define FRAME_POINTER(regs) ((regs)->rbp)
#define INSTRUCTION_POINTER(regs) ((regs)->rip)

/* A jbe is about to fall through. */
static __always_inline bool jbe_falls_through(const struct pt_regs *regs)
{
	return !(regs->eflags & (CARRY_FLAG | ZERO_FLAG));
}

/* By half of a condition code, the flags of which one must be set, in a byte each. Two bits that
 * are no flags in the lowest byte of the register stand for OF and for SF != OF. */
#define OVERFLOWS (1 << 3)
#define IS_LESS (1 << 1)
#define CONDITION_FLAGS                                                                            \
	((__u64)OVERFLOWS | (__u64)CARRY_FLAG << 8 | (__u64)ZERO_FLAG << 16 |                      \
	 (__u64)(CARRY_FLAG | ZERO_FLAG) << 24 | (__u64)SIGN_FLAG << 32 |                          \
	 (__u64)PARITY_FLAG << 40 | (__u64)IS_LESS << 48 | (__u64)(IS_LESS | ZERO_FLAG) << 56)

/* A conditional jump with this condition code is about to be taken. */
static __always_inline bool jump_is_taken(const struct pt_regs *regs, __u32 code)
{
	__u64 flags = regs->eflags & (CARRY_FLAG | PARITY_FLAG | ZERO_FLAG | SIGN_FLAG);
	bool overflows = regs->eflags & OVERFLOW_FLAG;

	if (overflows)
		flags |= OVERFLOWS;
	if (overflows != !!(flags & SIGN_FLAG))
		flags |= IS_LESS;
	/* Odd codes are the opposites of even ones. */
	return !!(flags & CONDITION_FLAGS >> (code >> 1 & 7) * 8 & 0xff) != (code & 1);
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

/* The counterpart, for the same reason. */
#define STORE_REGISTER(regs, field, value)                                                         \
	do {                                                                                       \
		__u64 stored = (value);                                                            \
                                                                                                   \
		asm volatile(                                                                      \
			"*(u64 *)(%[base] + %[at]) = %[stored]"                                    \
			:                                                                          \
			: [base] "r"(regs), [at] "i"(__builtin_offsetof(struct pt_regs, field)),   \
			  [stored] "r"(stored)                                                     \
			: "memory");                                                               \
	} while (0)

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
