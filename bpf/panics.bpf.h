/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Panics of Go that are in progress on a goroutine. */
#ifndef UNDERSPAN_PANICS_BPF_H
#define UNDERSPAN_PANICS_BPF_H

#include "open_calls.bpf.h"
#include "values.bpf.h"

/* The value of the panic that unwinds a call becomes one of the call's. */
INLINE void note_panic(struct stack *stack, struct open_call *call)
{
	struct open_panic *panic;
	__u64 span_id = load8(call->span_id);
	__u32 zero = 0;

	if (!stack->panic_count || call->dropped)
		return;
	panic = PANIC_SLOT(stack, stack->panic_count - 1);
	if (!bpf_map_lookup_elem(&call_values, &span_id)) {
		struct call_values *blank = bpf_map_lookup_elem(&blank_values, &zero);

		if (!blank)
			return;
		bpf_map_update_elem(&call_values, &span_id, blank, BPF_NOEXIST);
	}
	call->has_values = 1;
	read_error(span_id, panic->type, panic->data, SPECIAL_PANIC);
}

/* Forgets the panics in progress that lie deeper than `offset`: they are over. */
INLINE void forget_panics(struct stack *stack, __u64 offset)
{
	__u32 count = stack->panic_count;

	for (__u64 i = 0; i < MAX_OPEN_PANICS && count; i++, count--)
		if (PANIC_SLOT(stack, count - 1)->offset <= offset)
			break;
	stack->panic_count = count;
}

#endif
