/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* What is read of the kernel's own structures about the thread that runs. */
#ifndef UNDERSPAN_TASK_BPF_H
#define UNDERSPAN_TASK_BPF_H

#include "common.bpf.h"
#include <bpf/bpf_core_read.h>

struct thread_struct {
	unsigned long fsbase;
	unsigned long features; /* where the kernel is built for shadow stacks (Linux 6.6) */
} __attribute__((preserve_access_index));

/* Where replaced return addresses lead. */
struct xol_area {
	unsigned long vaddr;
} __attribute__((preserve_access_index));

struct uprobes_state {
	struct xol_area *xol_area;
} __attribute__((preserve_access_index));

struct mm_struct {
	unsigned long start_stack;
	struct uprobes_state uprobes_state;
} __attribute__((preserve_access_index));

struct uprobe_task {
	unsigned int depth; /* return addresses that are replaced */
} __attribute__((preserve_access_index));

struct task_struct {
	int pid;
	int tgid;
	struct thread_struct thread;
	struct mm_struct *mm;
	struct uprobe_task *utask;
} __attribute__((preserve_access_index));

#define SHADOW_STACK 1 /* ARCH_SHSTK_SHSTK */

/* Where the verifier knows the type (Linux 5.11, commit 3ca1032ab7ab), fields are read by a load
 * and not by a call. */
#if ATOMICS
#define RUNNING_TASK() bpf_get_current_task_btf()
#define TASK_FIELD(task, field) ((task)->field)
#define MEMORY_FIELD(task, field) ((task)->mm->field)
#else
#define RUNNING_TASK() ((struct task_struct *)bpf_get_current_task())
#define TASK_FIELD(task, field) BPF_CORE_READ(task, field)
#define MEMORY_FIELD(task, field) BPF_CORE_READ(task, mm, field)
#endif

/* Its pid_tgid. */
INLINE __u64 thread_of(struct task_struct *task)
{
#if ATOMICS
	return (__u64)(__u32)task->tgid << 32 | (__u32)task->pid;
#else
	return bpf_get_current_pid_tgid();
#endif
}

/* The processor compares what ret pops with a stack of its own, which no program can pop. */
INLINE bool has_shadow_stack(struct task_struct *task)
{
	return bpf_core_field_exists(((struct task_struct *)0)->thread.features) &&
	       (TASK_FIELD(task, thread.features) & SHADOW_STACK);
}

#endif
