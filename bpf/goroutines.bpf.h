/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * One element for each goroutine that has run a traced function or started a span. stack.hi and
 * goid are kept in it, which saves two reads of the target's memory on every hit: probes on
 * runtime.copystack and runtime.goexit1 say when they are no longer true.
 */
#ifndef UNDERSPAN_GOROUTINES_BPF_H
#define UNDERSPAN_GOROUTINES_BPF_H

#include "memory.bpf.h"
#include "open_calls.bpf.h"

#define M_OFFSET 48 /* g.m, in every Go version */
#define STACK_HI_OFFSET 8 /* g.stack.hi, in every Go version */
#define LARGEST_STACK (1ULL << 32) /* Go's own limit is 1 GB; threads may have more */

/* Reads stack.hi; 0 if it cannot be, or if the stack pointer cannot lie on that stack (then g is
 * no goroutine: an assembly function may use R14 for something else). */
INLINE __u64 read_stack_hi(__u64 g, __u64 stack_pointer)
{
	__u64 hi;

	if (read_user(&hi, sizeof(hi), g + STACK_HI_OFFSET))
		return 0;
	if (stack_pointer >= hi || hi - stack_pointer > LARGEST_STACK)
		return 0;
	return hi;
}

/* `id`: 0 if it is not known yet, and to be read. */
INLINE void take_inherited(const struct stack_key *key, __u64 id, struct inherited *found)
{
	struct inherited *known = bpf_map_lookup_elem(&inheritances, key);

	if (!known)
		return;
	if (!id && read_user(&id, sizeof(id), key->stack + settings.goid_offset))
		return;
	if (known->goroutine_id == id)
		*found = *known;
}

OUT_OF_LINE struct stack *add_goroutine(struct stack_key *key, __u64 hi)
{
	struct stack *goroutine;
	__u64 id;

	if (read_user(&id, sizeof(id), key->stack + settings.goid_offset))
		return NULL;
	goroutine = add_stack(key);
	if (!goroutine)
		return NULL;
	goroutine->id = id;
	goroutine->stack_hi = hi;
	take_inherited(key, id, &goroutine->inherited);
	return goroutine;
}

/* The goroutine's element with a true stack_hi, or NULL and why in *result. */
INLINE struct stack *need_goroutine(struct stack_key *key, __u64 stack_pointer,
				    enum stack_result *result)
{
	struct stack *goroutine = bpf_map_lookup_elem(&stacks, key);
	__u64 hi;

	*result = STACK_OK;
	if (goroutine && goroutine->stack_hi)
		return goroutine;
	*result = STACK_UNREADABLE;
	hi = read_stack_hi(key->stack, stack_pointer);
	if (!hi)
		return NULL;
	if (!goroutine) {
		*result = STACK_TABLE_FULL;
		return add_goroutine(key, hi);
	}
	*result = STACK_OK;
	goroutine->stack_hi = hi;
	return goroutine;
}

#endif
