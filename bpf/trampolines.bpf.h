/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * Returns that are seen since the kernel replaces the return address at the entry (uprobe.session,
 * Linux 6.13, commits 99b403d2060f and d920179b3d4c). Whoever looks at return addresses would find
 * the kernel's, and the kernel takes the frames of a thread to lie on one stack. So where that is
 * not certain the program refuses, and the call is counted by its entry alone.
 */
#ifndef UNDERSPAN_TRAMPOLINES_BPF_H
#define UNDERSPAN_TRAMPOLINES_BPF_H

#include "calls.bpf.h"
#include "memory.bpf.h"
#include "task.bpf.h"
#include "threads.bpf.h"

#define MAX_REPLACED_RETURNS 64 /* MAX_URETPROBE_DEPTH of kernel/events/uprobes.c */

/* What an entry's program answers. */
#define REPLACE_RETURN 0
#define LEAVE_RETURN 1

/* Where replaced return addresses of the process lead; 0: none has been replaced yet. */
INLINE __u64 trampoline_address(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return BPF_CORE_READ(task, mm, uprobes_state.xol_area, vaddr);
}

/* The opcode FF /2, a call through a register or memory, `length` bytes before the end. */
INLINE bool is_indirect_call(__u64 bytes, __u32 length)
{
	__u64 opcode = bytes >> (8 - length) * 8;

	return (opcode & 0x38ff) == 0x10ff;
}

/*
 * The word that a function finds on top of its stack is a return address only if it was called: not
 * in a program's first function, in what a signal handler returns to, in what the dynamic linker
 * jumps to. No function is called that is entered in such a way too, so that one look at each is
 * enough (site->called); but for signal handlers, whose return address is one in any case.
 */
INLINE bool follows_call(__u64 address)
{
	__u64 bytes;

	if (read_user(&bytes, sizeof(bytes), address - sizeof(bytes)))
		return false;
	return (bytes >> 24 & 0xff) == 0xe8 || is_indirect_call(bytes, 2) ||
	       is_indirect_call(bytes, 3) || is_indirect_call(bytes, 4) ||
	       is_indirect_call(bytes, 6) || is_indirect_call(bytes, 7);
}

/* Whether the kernel may replace the return address at `slot`. */
INLINE bool may_replace_return(struct site *site, const struct place *at, __u64 slot, __u32 tgid)
{
	__u32 *verdict;
	__u64 to;

	if (slot >= at->own_end || has_shadow_stack(at->task))
		return false;
	if (!settings.trampolines) {
		verdict = bpf_map_lookup_elem(&trampolines, &tgid);
		if (!verdict || *verdict != TRAMPOLINE_ALLOWED)
			return false;
	}
	if (site->called)
		return true;
	if (read_user(&to, sizeof(to), slot))
		return false;
	if (!follows_call(to))
		return to == trampoline_address();
	site->called = 1;
	return true;
}

/* The kernel gives up without a word beyond that many. */
INLINE bool has_too_many_replaced(struct task_struct *task)
{
	return TASK_FIELD(task, utask)->depth >= MAX_REPLACED_RETURNS;
}

/*
 * A function that has left by a jump is not seen to end until the one that it jumped to returns. If
 * that is traced too, the call has ended here: its own return address, replaced, is still in place.
 */
INLINE void end_tail_caller(struct stack *stack, struct hit *hit, __u64 offset, __u64 slot)
{
	__u32 depth = stack->depth;
	__u64 to;

	if (!depth || CALL_SLOT(stack, depth - 1)->offset != offset ||
	    read_user(&to, sizeof(to), slot) || to != trampoline_address())
		return;
	unwind_calls(hit, offset - 1, END_RETURNED);
}

#endif
