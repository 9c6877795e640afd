/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* The stack that each thread was last seen on, and keys of stacks that have no address. */
#ifndef UNDERSPAN_THREAD_STACKS_BPF_H
#define UNDERSPAN_THREAD_STACKS_BPF_H

#include "common.bpf.h"

/* By thread (pid_tgid). What is forgotten is found again, where it is looked for: see
 * threads.bpf.h. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct thread_stack);
} thread_stacks SEC(".maps");

/* Key of a thread whose mappings cannot be seen: all that it runs counts as one stack. */
#define THREAD_KEY (1ULL << 63)
/* Key of the stack that stands for a task in the kernel. */
#define TASK_KEY (1ULL << 62)

#endif
