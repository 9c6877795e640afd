/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * The stacks that threads were started with, on which most native code runs. Each has a place that
 * its key tells, since a look-up in a hash table takes longer than all else that a program of ours
 * does at most hits. Of two that want one place the second is in the table of all stacks.
 */
#ifndef UNDERSPAN_OWN_STACKS_BPF_H
#define UNDERSPAN_OWN_STACKS_BPF_H

#include "open_calls.bpf.h"

/* Before compare-and-exchange (see raise()) none is taken. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ATOMICS ? MAX_OWN_STACKS : 1);
	__type(key, __u32);
	__type(value, struct own_stack);
} own_stacks SEC(".maps");

/* With its end: key of the stack that a thread was started with. */
#define OWN_STACK_KEY (3ULL << 62)
#define IS_OWN_STACK(key) ((key) >> 62 == OWN_STACK_KEY >> 62)

/* Fibonacci hashing: stacks that lie at even distances fall on different places. User space finds
 * them in the same way (src/session/open-calls.ts). */
INLINE struct own_stack *own_place(const struct stack_key *key)
{
	__u64 mixed = (key->stack + key->tgid * 0xd1b54a32d192ed03ULL) * 0x9e3779b97f4a7c15ULL;
	__u32 index = (mixed >> 32) * MAX_OWN_STACKS >> 32;

	return bpf_map_lookup_elem(&own_stacks, &index);
}

/* The element of a stack; NULL: there is none. */
INLINE struct stack *find_stack(const struct stack_key *key)
{
#if ATOMICS
	struct own_stack *own;

	if (IS_OWN_STACK(key->stack)) {
		own = own_place(key);
		if (own && own->key == key->stack && own->tgid == key->tgid)
			return &own->stack;
	}
#endif
	return bpf_map_lookup_elem(&stacks, key);
}

#if ATOMICS
/* An empty element at the place of a thread's own stack; NULL: another has it. */
INLINE struct stack *take_own_stack(const struct stack_key *key)
{
	struct own_stack *own = own_place(key);

	if (!own || own->taken || __sync_val_compare_and_swap(&own->taken, 0, 1))
		return NULL;
	/* Nothing else in it is looked at while these are zero, or was ever written. */
	own->stack.depth = 0;
	own->stack.span_count = 0;
	own->stack.low = 0;
	own->stack.high = 0;
	own->stack.attachment = 0;
	own->stack.bias = 0;
	own->stack.wait.start_ns = 0;
	own->tgid = key->tgid;
	*(volatile __u64 *)&own->key = key->stack;
	return &own->stack;
}

INLINE void give_up(struct own_stack *own)
{
	*(volatile __u64 *)&own->key = 0;
	__sync_lock_test_and_set(&own->taken, 0);
}
#endif

/* A new element for a stack that has none, or one that another has just made; NULL: no room. */
INLINE struct stack *add_native_stack(const struct stack_key *key)
{
#if ATOMICS
	struct stack *stack = IS_OWN_STACK(key->stack) ? take_own_stack(key) : NULL;

	if (stack)
		return stack;
#endif
	return add_stack(key);
}

INLINE void remove_stack(const struct stack_key *key)
{
#if ATOMICS
	struct own_stack *own;

	if (IS_OWN_STACK(key->stack)) {
		own = own_place(key);
		if (own && own->key == key->stack && own->tgid == key->tgid) {
			give_up(own);
			return;
		}
	}
#endif
	bpf_map_delete_elem(&stacks, key);
}

#endif
