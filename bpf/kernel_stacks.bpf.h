/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * Whose work a hit in the kernel is, and on which stack of the table its call goes. A call that
 * the kernel makes for a goroutine lies deeper than everything on that goroutine's own stack; one
 * for which there is none goes on a stack that stands for the task.
 */
#ifndef UNDERSPAN_KERNEL_STACKS_BPF_H
#define UNDERSPAN_KERNEL_STACKS_BPF_H

#include "goroutines.bpf.h"
#include "memory.bpf.h"
#include "own_stacks.bpf.h"
#include "sites.bpf.h"
#include "thread_stacks.bpf.h"
#include <bpf/bpf_core_read.h>

struct thread_struct {
	unsigned long fsbase;
} __attribute__((preserve_access_index));

struct mm_struct {
	unsigned long start_stack;
} __attribute__((preserve_access_index));

struct task_struct {
	void *stack;
	struct mm_struct *mm;
	struct thread_struct thread;
} __attribute__((preserve_access_index));

/* Its size is that of a kernel stack. */
union thread_union {
	unsigned long stack[1];
} __attribute__((preserve_access_index));

/* Where preempt_count is: a variable of its own, or from 6.2 to 6.14 in pcpu_hot. */
extern const int __preempt_count __ksym __weak;

struct pcpu_hot {
	int preempt_count;
} __attribute__((preserve_access_index));
extern const struct pcpu_hot pcpu_hot __ksym __weak;

#define HARD_INTERRUPT_SHIFT 16
#define NMI_SHIFT 20
#define INTERRUPT_MASK 15
#define IN_SOFT_INTERRUPT (1 << 8) /* serving one; that they are merely disabled counts by two */

/* struct pt_regs as the kernel has it; user space's own description agrees. */
#define USER_REGISTERS_SIZE sizeof(struct pt_regs)

/* From Linux 5.15 on, commit dd6e10fbd9fb. */
#define HAS_TASK_REGISTERS bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs)

/* Offsets of calls in the kernel: beyond those of all stacks of user space. */
#define KERNEL_OFFSET (1ULL << 60)

#define BREAKPOINT 0xcc

/* A hit, as far as it does not matter which kind of probe made it. */
struct kernel_hit {
	void *program; /* its context */
	__u64 thread; /* pid_tgid */
	struct task_struct *task;
	__u64 top; /* end of the task's kernel stack */
	__u64 slot; /* where the call's return address lies, or what is as far from it in all calls
		     */
	struct target *target;
};

/*
 * What is passed to a program of a trampoline or a tracepoint lies on the stack; for a function at
 * the same place at entry and return.
 */
INLINE __u64 place_of(const void *arguments)
{
	const void *kept = arguments;
	__u64 place = 0;

	bpf_probe_read_kernel(&place, sizeof(place), &kept);
	return place;
}

INLINE __u64 kernel_stack_size(void)
{
	__u64 size = bpf_core_type_size(union thread_union);

	return size ?: 16384;
}

INLINE bool in_interrupt(void)
{
	__u32 count = 0, nmi;

	if (bpf_core_type_exists(struct pcpu_hot) && &pcpu_hot)
		count = ((const struct pcpu_hot *)bpf_this_cpu_ptr(&pcpu_hot))->preempt_count;
	else if (&__preempt_count)
		count = *(const int *)bpf_this_cpu_ptr(&__preempt_count);
	/* A probe's own breakpoint counts as one NMI and one hard interrupt. */
	nmi = count >> NMI_SHIFT & INTERRUPT_MASK;
	return (count & IN_SOFT_INTERRUPT) ||
	       (count >> HARD_INTERRUPT_SHIFT & INTERRUPT_MASK) > nmi || nmi > 1;
}

/*
 * With which registers the task entered the kernel. They are at the very top of its stack, or
 * below two words where the kernel is built for FRED (Linux 6.9, commit 65c9cc9e2c14).
 */
INLINE struct pt_regs *user_registers(const struct kernel_hit *hit)
{
	if (HAS_TASK_REGISTERS)
		return (void *)bpf_task_pt_regs(bpf_get_current_task_btf());
	return (void *)(hit->top - USER_REGISTERS_SIZE);
}

/*
 * The task stands on a breakpoint: what the kernel does then it does for a probe (or a debugger),
 * reading memory for our own programs included, which must not meet their own half-made calls.
 */
INLINE bool works_for_probe(const struct kernel_hit *hit)
{
	struct pt_regs *user = user_registers(hit);
	__u64 system_call, instruction;
	__u8 byte = 0;

	if (bpf_probe_read_kernel(&system_call, sizeof(system_call), &user->orig_rax) ||
	    (__s64)system_call >= 0)
		return false;
	if (bpf_probe_read_kernel(&instruction, sizeof(instruction), &user->rip))
		return false;
	return !bpf_probe_read_user(&byte, sizeof(byte), (const void *)instruction) &&
	       byte == BREAKPOINT;
}

/* Whether the hit is the work of a target; if it is not the program's own call, *foreign says so.
 */
INLINE bool of_target(struct kernel_hit *hit, bool *foreign)
{
	struct task_struct *task;
	__u32 tgid;

	hit->thread = bpf_get_current_pid_tgid();
	tgid = hit->thread >> 32;
	hit->target = bpf_map_lookup_elem(&targets, &tgid);
	if (!module_of(hit->target))
		return false;
	hit->task = task = (struct task_struct *)bpf_get_current_task();
	hit->top = (__u64)BPF_CORE_READ(task, stack) + kernel_stack_size();
	*foreign = hit->slot >= hit->top || hit->top - hit->slot > kernel_stack_size() ||
		   in_interrupt() || works_for_probe(hit);
	return true;
}

/* Whether the element stands for a goroutine or has open calls: others say nothing of contexts. */
INLINE bool is_of_use(const struct stack *stack)
{
	return stack && (stack->depth || stack->id);
}

enum stack_found { STACK_NONE, STACK_FOUND, STACK_UNREAD };

/* The goroutine that the task runs; on a system stack the one that it was left for. */
INLINE enum stack_found find_goroutine(const struct kernel_hit *hit, struct stack_key *key,
				       struct stack **found)
{
	struct task_struct *task = hit->task;
	__u64 base, g, m, current;

	if (!hit->target->g_offset)
		return STACK_NONE;
	base = BPF_CORE_READ(task, thread.fsbase);
	if (!base)
		return STACK_NONE;
	if (bpf_probe_read_user(&g, sizeof(g), (const void *)(base + hit->target->g_offset)))
		return STACK_UNREAD;
	/* A thread that the runtime has not made its own yet. */
	if (!g)
		return STACK_NONE;
	key->stack = g;
	*found = bpf_map_lookup_elem(&stacks, key);
	if (is_of_use(*found))
		return STACK_FOUND;
	if (bpf_probe_read_user(&m, sizeof(m), (const void *)(g + M_OFFSET)) ||
	    bpf_probe_read_user(&current, sizeof(current),
				(const void *)(m + hit->target->current_offset)))
		return STACK_UNREAD;
	if (!current || current == g)
		return STACK_NONE;
	key->stack = current;
	*found = bpf_map_lookup_elem(&stacks, key);
	return is_of_use(*found) ? STACK_FOUND : STACK_NONE;
}

/* The stack that the thread was started with; where its mappings cannot be seen, all that it has.
 * As in threads.bpf.h. */
INLINE __u64 own_stack(const struct kernel_hit *hit)
{
	struct task_struct *task = hit->task;

	if (!settings.finds_mappings)
		return THREAD_KEY | (__u32)hit->thread;
	if ((__u32)hit->thread == hit->thread >> 32)
		return OWN_STACK_KEY | BPF_CORE_READ(task, mm, start_stack);
	return OWN_STACK_KEY | BPF_CORE_READ(task, thread.fsbase);
}

/* The stack of the thread that its last traced function ran on, if the thread still is on it: that
 * which it was started with says so itself. */
INLINE enum stack_found find_thread(const struct kernel_hit *hit, struct stack_key *key,
				    struct stack **found)
{
	struct pt_regs *user = user_registers(hit);
	struct thread_stack *on;
	struct stack *own;
	__u64 pointer;

	if (bpf_probe_read_kernel(&pointer, sizeof(pointer), &user->rsp))
		return STACK_NONE;
	key->stack = own_stack(hit);
	*found = own = find_stack(key);
	if (is_of_use(own) && pointer >= own->low && pointer < own->high)
		return STACK_FOUND;
	on = bpf_map_lookup_elem(&thread_stacks, &hit->thread);
	if (on) {
		if (pointer < on->low || pointer >= on->high)
			return STACK_NONE;
		key->stack = on->stack;
		*found = find_stack(key);
	} else if (IS_OWN_STACK(key->stack)) {
		return STACK_NONE;
	}
	return is_of_use(*found) ? STACK_FOUND : STACK_NONE;
}

/* The stack on which the program was when it called the kernel, as far as it is known. In a C
 * function that Go calls that is the thread's. */
INLINE enum stack_found find_caller(const struct kernel_hit *hit, struct stack_key *key,
				    struct stack **found)
{
	if (find_thread(hit, key, found) == STACK_FOUND)
		return STACK_FOUND;
	return find_goroutine(hit, key, found);
}

INLINE void task_key(const struct kernel_hit *hit, struct stack_key *key)
{
	key->stack = TASK_KEY | (__u32)hit->thread;
	key->tgid = hit->thread >> 32;
}

INLINE struct stack *need_task_stack(const struct kernel_hit *hit, struct stack_key *key)
{
	task_key(hit, key);
	return bpf_map_lookup_elem(&stacks, key) ?: add_stack(key);
}

#endif
