/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * Where longjmp leads. The jmp_buf of every C library on x86-64 holds rbx, rbp, r12 to r15, rsp and
 * rip. glibc covers rsp with a secret of the process, its pointer guard, and rotates it.
 */
#ifndef UNDERSPAN_LONG_JUMPS_BPF_H
#define UNDERSPAN_LONG_JUMPS_BPF_H

#include "memory.bpf.h"
#include <bpf/bpf_core_read.h>

struct thread_struct___jump {
	unsigned long fsbase;
} __attribute__((preserve_access_index));

struct task_struct___jump {
	struct thread_struct___jump thread;
} __attribute__((preserve_access_index));

#define JUMP_STACK_POINTER 48
#define POINTER_GUARD 0x30 /* in glibc's tcbhead_t, which fs points to */
#define GUARD_ROTATION 17
/* What is farther away is no frame of this stack, but covered otherwise than is known here. */
#define LONGEST_JUMP (1ULL << 32)

/* Whether a jump from `from` may lead to `to` on a stack that ends at `high`: only outwards. */
INLINE bool leads_outwards(__u64 from, __u64 to, __u64 high)
{
	return to > from && to < high && to - from < LONGEST_JUMP;
}

/*
 * The stack pointer that longjmp(buffer) will set; 0: it cannot be told, or lies on another stack,
 * as where coroutines are switched by it, and then nothing on this one is over.
 */
INLINE __u64 jump_target(__u64 buffer, __u64 from, __u64 high)
{
	struct task_struct___jump *task = (void *)bpf_get_current_task();
	__u64 saved, guard;

	if (read_user(&saved, sizeof(saved), buffer + JUMP_STACK_POINTER))
		return 0;
	if (leads_outwards(from, saved, high))
		return saved;
	if (read_user(&guard, sizeof(guard), BPF_CORE_READ(task, thread.fsbase) + POINTER_GUARD))
		return 0;
	saved = (saved >> GUARD_ROTATION | saved << (64 - GUARD_ROTATION)) ^ guard;
	return leads_outwards(from, saved, high) ? saved : 0;
}

#endif
