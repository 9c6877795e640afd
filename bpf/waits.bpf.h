/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * What calls wait for. A wait belongs to the innermost call that is open when it begins, and is
 * handed to the call around when that ends; so a call that never waits pays for one look at a flag.
 */
#ifndef UNDERSPAN_WAITS_BPF_H
#define UNDERSPAN_WAITS_BPF_H

#include "call_waits.bpf.h"
#include "open_calls.bpf.h"
#include "ring.bpf.h"
#include "statistics.bpf.h"

/* An empty element, too large for a program's stack. Never written. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct waits_record);
} blank_waits SEC(".maps");

/* NULL: there is no room. */
INLINE struct waits *waits_of(__u64 span_id)
{
	struct waits_record *known = bpf_map_lookup_elem(&call_waits, &span_id);
	struct waits_record *blank;
	__u32 zero = 0;

	if (!known) {
		blank = bpf_map_lookup_elem(&blank_waits, &zero);
		if (!blank)
			return NULL;
		bpf_map_update_elem(&call_waits, &span_id, blank, BPF_NOEXIST);
		known = bpf_map_lookup_elem(&call_waits, &span_id);
	}
	return known ? &known->waits : NULL;
}

/* To add to what an open call has waited for, or allocated. NULL: there is no room. */
INLINE struct waits *add_waits(struct open_call *call)
{
	__u64 span_id = load8(call->span_id);
	struct waits *waits;

	if (call->has_waits && !bpf_map_lookup_elem(&call_waits, &span_id))
		call->lost_waits = 1;
	waits = waits_of(span_id);
	if (waits)
		call->has_waits = 1;
	else
		call->lost_waits = 1;
	return waits;
}

/* On a stack that has open calls. */
INLINE void begin_wait(struct stack *stack, __u64 now, __u32 kind)
{
	stack->wait.start_ns = now;
	stack->wait.ready_ns = 0;
	stack->wait.kind = kind;
	stack->wait.ready_kind = WAIT_RUNNABLE;
	stack->wait.waker.goroutine_id = 0;
	stack->wait.waker.function = 0;
	stack->wait.waker.tid = 0;
	store8(stack->wait.waker.trace_id, 0);
	store8(stack->wait.waker.trace_id + 8, 0);
}

/* It has ended a wait, and `call` is the innermost that it has open. */
INLINE void name_waker(struct waker *waker, const struct open_call *call)
{
	waker->function = call->function;
	copy16(waker->trace_id, call->trace_id);
	store8(waker->span_id, load8(call->span_id));
}

/* Out of line: the frame of Go's support() would be too large for Linux 5.10. */
OUT_OF_LINE __attribute__((unused)) void end_wait(void *context, struct stack *stack, __u64 now)
{
	struct wait_record *wait = &stack->wait;
	__u64 start = wait->start_ns, ready = wait->ready_ns ?: now;
	__u32 depth = stack->depth;
	struct open_call *call;
	struct waits *waits;

	if (!start)
		return;
	if (depth && now > start) {
		if (stack->assist_ns)
			stack->assist_waited_ns += now - start;
		call = CALL_SLOT(stack, depth - 1);
		waits = call->watched & WATCHED_WAITS ? add_waits(call) : NULL;
		if (waits) {
			ADD(waits->ns[slot_index(wait->kind, WAIT_KINDS)], ready - start);
			ADD(waits->ns[slot_index(wait->ready_kind, WAIT_KINDS)], now - ready);
			if (now - start >= settings.min_wait_ns && !call->dropped) {
				wait->header.kind = RECORD_WAIT;
				wait->header.size = sizeof(*wait);
				wait->end_ns = now;
				store8(wait->span_id, load8(call->span_id));
				output_record(context, wait, sizeof(*wait));
			}
		}
	}
	wait->start_ns = 0;
}

INLINE void begin_assist(struct stack *stack, __u64 now)
{
	stack->assist_ns = now;
	stack->assist_waited_ns = 0;
}

/* Where it has waited meanwhile, that is known already. */
INLINE void end_assist(struct stack *stack, __u64 now)
{
	__u64 since = stack->assist_ns, waited = stack->assist_waited_ns;
	struct open_call *call = CALL_SLOT(stack, stack->depth - 1);
	struct waits *waits;

	stack->assist_ns = 0;
	/* Of a call that was dropped it is not this call's. */
	if (since < call->start_ns || now - since <= waited)
		return;
	waits = call->watched & WATCHED_WAITS ? add_waits(call) : NULL;
	if (!waits)
		return;
	ADD(waits->ns[WAIT_GC_ASSIST], now - since - waited);
}

#ifndef CLOSE_WAITS
#define CLOSE_WAITS __noinline
#endif

/* What becomes of a call's waits where it ends. */
#define WAITS_HANDED_ON 1 /* the call around has them too */
#define WAITS_SENT 2 /* user space knows of them */
#define WAITS_MISSED 4 /* not all that ran beneath the call around is known any more */

/* How a call ends, beside its function. */
#define WAITS_TELL (1ULL << 32) /* a record will tell of it */
#define WAITS_AROUND (1ULL << 33) /* the call around has waits of its own already */

/*
 * A call that has waited ends, and the call around it has waited as long. A global function for the
 * verifier's sake where it knows the context's type: see close_deeper().
 */
CLOSE_WAITS int close_waits(CONTEXT *context, __u64 span_id, __u64 around, __u64 how)
{
	struct waits_record *own = bpf_map_lookup_elem(&call_waits, &span_id);
	struct statistics *stats = statistics_of(how);
	struct waits *above = NULL;
	int done = 0;

	if (!own || !stats || !context)
		return WAITS_MISSED;
	for (__u32 i = 0; i < WAIT_KINDS; i++)
		if (own->waits.ns[i])
			ADD(stats->waited_ns[i], own->waits.ns[i]);
	if (own->waits.allocated) {
		ADD(stats->allocated, own->waits.allocated);
		ADD(stats->allocations, own->waits.allocations);
	}
	if (around) {
		if (how & WAITS_AROUND && !bpf_map_lookup_elem(&call_waits, &around))
			done |= WAITS_MISSED;
		above = waits_of(around);
		done |= above ? WAITS_HANDED_ON : WAITS_MISSED;
	}
	if (above) {
		for (__u32 i = 0; i < WAIT_KINDS; i++)
			if (own->waits.ns[i])
				ADD(above->ns[i], own->waits.ns[i]);
		if (own->waits.allocated) {
			ADD(above->allocated, own->waits.allocated);
			ADD(above->allocations, own->waits.allocations);
		}
	}
	if (how & WAITS_TELL) {
		own->header.kind = RECORD_WAITS;
		own->header.size = sizeof(*own);
		store8(own->span_id, span_id);
		if (output_record(context, own, sizeof(*own)))
			done |= WAITS_SENT;
	}
	bpf_map_delete_elem(&call_waits, &span_id);
	return done;
}

#endif
