/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* The table of open calls, by the stack that they run on, and what goroutines inherit. */
#ifndef UNDERSPAN_OPEN_CALLS_BPF_H
#define UNDERSPAN_OPEN_CALLS_BPF_H

#include "common.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct stack_key);
	__type(value, struct stack);
} stacks SEC(".maps");

/* An empty element, too large for a program's stack. Never written. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct stack);
} blank_stack SEC(".maps");

/* What goroutines inherit that have not run a traced function yet. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, struct stack_key);
	__type(value, struct inherited);
} inheritances SEC(".maps");

#define PANIC_SLOT(stack, n) (&(stack)->panics[slot_index(n, MAX_OPEN_PANICS)])
#define CALL_SLOT(stack, n) (&(stack)->calls[slot_index(n, MAX_OPEN_CALLS)])

enum stack_result { STACK_OK, STACK_UNREADABLE, STACK_TABLE_FULL };

/* A new element, or the one that is there; NULL: the table is full. */
INLINE struct stack *add_stack(const struct stack_key *key)
{
	__u32 zero = 0;
	struct stack *blank = bpf_map_lookup_elem(&blank_stack, &zero);

	if (!blank)
		return NULL;
	bpf_map_update_elem(&stacks, key, blank, BPF_NOEXIST);
	return bpf_map_lookup_elem(&stacks, key);
}

#endif
