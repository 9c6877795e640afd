/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * Which stack a thread is on. A stack is known by where the mapping ends that holds the stack
 * pointer, so that coroutines, signal handlers on a stack of their own, and coroutines that move
 * between threads have theirs. Within one mapping swapcontext says which is which
 * (SITE_SWITCH_STACK).
 *
 * Most threads are always on the stack that they were started with. So the element of that stack
 * says what lies on it, and one look-up tells both; but only while the thread was last seen there.
 */
#ifndef UNDERSPAN_THREADS_BPF_H
#define UNDERSPAN_THREADS_BPF_H

#include "context.bpf.h"
#include "memory.bpf.h"
#include "own_stacks.bpf.h"
#include "registers.bpf.h"
#include "task.bpf.h"
#include "thread_stacks.bpf.h"

/* What calls.bpf.h asks of a front end. */

#define ARGUMENT native_argument

/* As the stack has seen it. */
INLINE __u64 context_start(const struct context *context, __u32 tgid)
{
	return context->start_ns;
}

/* What an exception carries is not read. */
INLINE void note_panic(struct stack *stack, struct open_call *call)
{
}

/* A thread inherits no context. */
INLINE void inherit(struct stack *stack, __u64 key, __u32 tgid, struct context *context)
{
}

struct vm_area_struct {
	unsigned long vm_start;
	unsigned long vm_end;
} __attribute__((preserve_access_index));

#define END_OF_USER_MEMORY (1ULL << 56)
#define IS_MAIN(thread) ((__u32)(thread) == (thread) >> 32)
/* Not seen to be the thread's own, see presume_own_stack: the next hit looks again. */
#define IS_PRESUMED(on) (IS_OWN_STACK((on)->stack) && !(on)->own_end)
#define EBUSY 16

#if ATOMICS
static long note_mapping(struct task_struct *task, struct vm_area_struct *mapping,
			 struct thread_stack *found)
{
	found->low = mapping->vm_start;
	found->high = mapping->vm_end;
	return 0;
}
#endif

/*
 * Where the stack ends that the thread was started with. The kernel puts the main thread's
 * arguments there, C libraries the control block of any other thread, which its thread pointer
 * names. Above that another mapping may have been joined to it.
 */
INLINE __u64 own_stack_end(struct task_struct *task, __u64 thread)
{
	return IS_MAIN(thread) ? MEMORY_FIELD(task, start_stack) : TASK_FIELD(task, thread.fsbase);
}

INLINE struct stack *own_stack(__u64 thread)
{
	struct stack_key key = {
		.stack = OWN_STACK_KEY | own_stack_end(RUNNING_TASK(), thread),
		.tgid = thread >> 32,
	};

	return find_stack(&key);
}

/* The thread is seen on another stack. */
INLINE void leave_own_stack(__u64 thread)
{
	struct stack *own = own_stack(thread);

	if (own)
		own->high = 0;
}

/* The kernel leaves at least that much room for a main thread's stack (mmap_base of arch/x86). */
#define ROOM_OF_MAIN_STACK (128ULL << 20)

/*
 * The mappings are being changed at this moment, and cannot be looked at. What is known is where
 * the thread's own stack ends, and that only the main thread's grows. False: it may be another
 * stack.
 */
INLINE bool presume_own_stack(__u64 thread, __u64 pointer, struct thread_stack *found)
{
	struct thread_stack *known = bpf_map_lookup_elem(&thread_stacks, &thread);
	__u64 end = own_stack_end(RUNNING_TASK(), thread);
	bool may_be_own = IS_MAIN(thread) ? end - pointer <= ROOM_OF_MAIN_STACK
					  : !known || IS_PRESUMED(known);

	if (pointer > end || !may_be_own)
		return false;
	found->high = end;
	found->stack = OWN_STACK_KEY | end;
	return true;
}

/*
 * Looks at the thread's mappings. Before bpf_find_vma (Linux 5.17, commit 7c7e3d31e785) a thread is
 * taken to have one stack.
 */
OUT_OF_LINE struct thread_stack *find_thread_stack(__u64 thread, __u64 pointer)
{
	struct thread_stack found = {};
	bool busy = false;
	__u64 end;

#if ATOMICS
	if (settings.finds_mappings)
		busy = bpf_find_vma(bpf_get_current_task_btf(), pointer, note_mapping, &found, 0) ==
		       -EBUSY;
#endif
	if (busy) {
		if (!presume_own_stack(thread, pointer, &found))
			return NULL;
	} else if (!found.high) {
		found.high = END_OF_USER_MEMORY;
		found.stack = THREAD_KEY | (__u32)thread;
	} else {
		end = own_stack_end(RUNNING_TASK(), thread);
		found.stack = found.high;
		if (end >= found.low && end < found.high) {
			found.own_end = end;
			found.stack = OWN_STACK_KEY | end;
		} else {
			leave_own_stack(thread);
		}
	}
	bpf_map_update_elem(&thread_stacks, &thread, &found, BPF_ANY);
	return bpf_map_lookup_elem(&thread_stacks, &thread);
}

/* The stack that holds `pointer`; NULL: it cannot be told at this moment, or there is no room. */
INLINE struct thread_stack *thread_stack_at(__u64 pointer)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct thread_stack *known = bpf_map_lookup_elem(&thread_stacks, &thread);

	if (known && !IS_PRESUMED(known) && pointer >= known->low && pointer < known->high)
		return known;
	return find_thread_stack(thread, pointer);
}

/* Some frames of a program's start may lie above what the kernel has put on its stack. */
#define ROOM_ABOVE 4096

/* What offsets of calls are measured from. Always an address: calls in the kernel lie deeper. */
INLINE __u64 offsets_from(const struct thread_stack *on)
{
	if (IS_OWN_STACK(on->stack))
		return (on->stack & ~OWN_STACK_KEY) + ROOM_ABOVE;
	return on->high;
}

/* Where a hit is. */
struct place {
	struct task_struct *task;
	__u64 thread; /* pid_tgid */
	struct stack *stack; /* NULL: nothing traced has run on it yet */
	__u64 key; /* as in struct stack_key */
	__u64 end; /* what offsets are measured from */
	__u64 own_end; /* as in struct thread_stack */
	__u32 publishers; /* as in struct target_facts */
};

/* Begins to find where a hit is, by the stack that its thread was started with. */
INLINE void begin_place(struct place *at)
{
	at->task = RUNNING_TASK();
	at->thread = thread_of(at->task);
#if ATOMICS
	struct stack_key key = { .tgid = at->thread >> 32 };

	at->own_end = own_stack_end(at->task, at->thread);
	at->key = OWN_STACK_KEY | at->own_end;
	at->end = at->own_end + ROOM_ABOVE;
	key.stack = at->key;
	at->stack = find_stack(&key);
#endif
}

/* Where `pointer` is on the running thread's stacks. False: it cannot be told, or there is no room.
 */
INLINE bool find_place(__u64 pointer, struct place *at)
{
	struct stack_key key = { .tgid = at->thread >> 32 };
	struct thread_stack *on;

	if (at->stack && pointer >= at->stack->low && pointer < at->stack->high)
		return true;
	on = thread_stack_at(pointer);
	if (!on)
		return false;
	at->key = on->stack;
	at->end = offsets_from(on);
	at->own_end = on->own_end;
	key.stack = at->key;
	at->stack = find_stack(&key);
	if (at->stack && on->own_end) {
		at->stack->low = on->low;
		at->stack->high = on->own_end;
	}
	return true;
}

/* ucontext_t of the C library, as far as the ABI fixes it. */
#define UCONTEXT_STACK 16
#define UCONTEXT_STACK_POINTER 160

/* The thread goes on with the context at `context`, on the stack that makecontext gave it. */
INLINE void stack_switched(__u64 context)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct thread_stack next = {};
	struct {
		__u64 start, flags, size;
	} stack;
	__u64 pointer;

	leave_own_stack(thread);
	if (read_user(&stack, sizeof(stack), context + UCONTEXT_STACK) ||
	    read_user(&pointer, sizeof(pointer), context + UCONTEXT_STACK_POINTER) ||
	    pointer < stack.start || pointer - stack.start >= stack.size) {
		bpf_map_delete_elem(&thread_stacks, &thread);
		return;
	}
	next.low = stack.start;
	next.high = stack.start + stack.size;
	next.stack = next.high;
	bpf_map_update_elem(&thread_stacks, &thread, &next, BPF_ANY);
}

#endif
