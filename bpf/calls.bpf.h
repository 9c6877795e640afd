/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * The one machine for open calls: enter, leave, unwind. A front end supplies the stack (its key
 * and its top), the context that it found, and the site; and before it includes this, what it
 * knows of contexts, context_start() and inherit(), and of panics, note_panic(); and
 * CONTEXT, the type of its programs' context.
 *
 * A call is known by its offset: the distance from the stack's top to its return address, which
 * survives the moving of the stack. Deeper calls have larger offsets, so the open calls of a stack
 * are sorted, and one whose offset is not smaller than a new call's can no longer be running.
 */
#ifndef UNDERSPAN_CALLS_BPF_H
#define UNDERSPAN_CALLS_BPF_H

#include "context.bpf.h"
#include "http.bpf.h"
#include "open_calls.bpf.h"
#include "own_stacks.bpf.h"
#include "ring.bpf.h"
#include "statistics.bpf.h"
#include "targets.bpf.h"
#include "trees.bpf.h"
#include "values.bpf.h"

/* The context of a program at a probe, by the name that the verifier knows it by in every kernel.
 */
struct bpf_user_pt_regs_t {
};

#include "waits.bpf.h"

/* Calls of HTTP handlers may end here. */
#ifndef COUNTS_REQUESTS
#define COUNTS_REQUESTS 1
#endif

/* What the callbacks of one hit share. */
struct hit {
	void *context; /* of the program, for perf buffers */
	__u64 now;
	__u64 stack;
	__u64 bias; /* of the module; once a call has ended, as its entry had it */
	__u32 tgid;
	__u32 function;
	__u32 governed; /* bits of the function, where it begins */
	bool may_repeat; /* the site is hit again if the stack grows */
	bool failed; /* the call returns an error */
	__u8 waits; /* of the call that ends: enum waits_known */
};

INLINE void fill_record(struct call_record *record, struct stack *stack, struct open_call *call,
			__u32 depth, struct hit *hit, __u8 end)
{
	struct open_call *outermost = CALL_SLOT(stack, call->tree);

	record->start_ns = call->start_ns;
	record->end_ns = hit->now;
	copy16(record->trace_id, call->trace_id);
	store8(record->span_id, load8(call->span_id));
	store8(record->parent_id, load8(call->parent_id));
	store8(record->tree_id, load8(outermost->span_id));
	record->stack = hit->stack;
	record->goroutine_id = stack->id;
	record->children_ns = call->children_ns;
	record->descendants = call->descendants;
	record->function = call->function;
	record->tgid = hit->tgid;
	record->tid = bpf_get_current_pid_tgid();
	record->tree_spans = call->tree_spans;
	record->tree_lost = call->tree_lost;
	record->source = call->source;
	record->end = end;
	record->trace_flags = call->trace_flags;
	record->depth = depth;
	record->parent_kind = call->parent_kind;
	record->failed = hit->failed;
	record->values_count = 0;
	record->waits = hit->waits;
}

/* Sends the record together with what was read from the call. False: the ring is full. */
INLINE bool send_with_values(struct call_values *values, struct stack *stack,
			     struct open_call *call, __u32 depth, struct hit *hit, __u8 end)
{
	__u64 size = values->size + sizeof(values->record);
	bool sent;

	fill_record(&values->record, stack, call, depth, hit, end);
	values->record.header.kind = RECORD_CALL;
	values->record.header.size = size;
	values->record.values_count = values->count;
	/* As one register of 64 bits, or the verifier of Linux 5.10 loses the bound. */
	asm volatile("" : "+r"(size));
	if (size > sizeof(values->record) + MAX_CALL_BYTES + MAX_VALUE_BYTES)
		return false;
	sent = output_record(hit->context, &values->record, size);
	bpf_map_delete_elem(&call_values, call->span_id);
	return sent;
}

/* Sends the record of a call that has ended, or counts why not. */
INLINE void send_call(struct stack *stack, struct open_call *call, __u32 depth, struct hit *hit,
		      __u8 end, struct statistics *stats)
{
	struct open_call *outermost = CALL_SLOT(stack, call->tree);
	struct call_values *values = NULL;
	struct call_record *record;

	if (call->dropped) {
		count_lost(stats, call->dropped - 1);
		return;
	}
	if (hit->now - call->start_ns < settings.min_duration_ns) {
		count_lost(stats, LOST_TOO_SHORT);
		return;
	}
	/* An outermost call's record counts itself too. */
	outermost->tree_spans++;
	if (call->has_values) {
		__u64 span_id = load8(call->span_id);

		values = bpf_map_lookup_elem(&call_values, &span_id);
		if (!values)
			ADD(stats->values_lost, 1);
	}
	if (values) {
		if (send_with_values(values, stack, call, depth, hit, end)) {
			ADD(stats->spans, 1);
			return;
		}
	} else {
		record = reserve_record(&stack->record, RECORD_CALL, sizeof(*record));
		if (record) {
			fill_record(record, stack, call, depth, hit, end);
			if (submit_record(hit->context, record, sizeof(*record))) {
				ADD(stats->spans, 1);
				return;
			}
		}
	}
	outermost->tree_spans--;
	outermost->tree_lost++;
	count_lost(stats, LOST_RING_FULL);
}

/* It was not looked at what a call waited for, and allocated, all the time. */
INLINE bool was_unwatched(const struct open_call *call)
{
	__u32 zero = 0;
	struct target_facts *facts = bpf_map_lookup_elem(&target_facts, &zero);

	return !facts || facts->watched_since > call->start_ns ||
	       is_governed(call->function, GOVERNED_UNWATCHED);
}

/* The call around the innermost one has waited as long as that. Returns what is known of it. */
INLINE __u8 end_waits(struct stack *stack, struct open_call *call, __u32 depth, struct hit *hit,
		      struct statistics *stats)
{
	struct open_call *around = depth > 1 ? CALL_SLOT(stack, depth - 2) : NULL;
	bool told = !call->dropped && hit->now - call->start_ns >= settings.min_duration_ns;
	__u64 span_id = load8(call->span_id);
	bool sent = true;
	int done;

	/* Then as little is known of the call around. */
	if (was_unwatched(call)) {
		if (call->has_waits)
			bpf_map_delete_elem(&call_waits, &span_id);
		return WAITS_UNKNOWN;
	}
	if (call->has_waits) {
		done = close_waits(hit->context, span_id, around ? load8(around->span_id) : 0,
				   call->function | (told ? WAITS_TELL : 0) |
					   (around && around->has_waits ? WAITS_AROUND : 0));
		if (around && done & WAITS_HANDED_ON)
			around->has_waits = 1;
		if (done & WAITS_MISSED)
			call->lost_waits = 1;
		sent = done & WAITS_SENT;
	}
	if (call->lost_waits && around)
		around->lost_waits = 1;
	if (call->lost_waits || (told && !sent)) {
		ADD(stats->waits_lost, 1);
		return WAITS_UNKNOWN;
	}
	ADD(stats->watched_calls, 1);
	return call->has_waits ? WAITS_TOLD : WAITS_NONE;
}

/* Closes the innermost open call. */
INLINE void close_call(struct stack *stack, __u32 depth, struct hit *hit, __u8 end)
{
	struct open_call *call = CALL_SLOT(stack, depth - 1);
	struct statistics *stats = statistics_of(call->function);
	__u64 duration = hit->now - call->start_ns;

	stack->depth = depth - 1;
	if (COUNTS_REQUESTS && call->http_method)
		count_request(call->function, call->http_method,
			      end == END_PANICKED ? HTTP_SERVER_ERROR
			      : call->http_status ? call->http_status
						  : HTTP_OK,
			      duration);
	if (!stats)
		return;
	count_end(stats, duration, duration > call->children_ns ? duration - call->children_ns : 0,
		  end == END_PANICKED || end == END_UNWOUND || hit->failed);
	if (depth > 1) {
		struct open_call *around = CALL_SLOT(stack, depth - 2);

		around->children_ns += duration;
		around->descendants += call->descendants + 1;
	}
	hit->waits = settings.keeps_waits && call->watched
			     ? end_waits(stack, call, depth, hit, stats)
			     : WAITS_UNKNOWN;
	send_call(stack, call, depth - 1, hit, end, stats);
}

/* Drops the innermost open call: its frame is gone and nothing said how, so it has no end. */
INLINE void drop_call(struct stack *stack, __u32 depth)
{
	struct open_call *call = CALL_SLOT(stack, depth - 1);
	struct statistics *stats = statistics_of(call->function);

	stack->depth = depth - 1;
	if (settings.keeps_waits && (call->has_waits || call->lost_waits)) {
		__u64 span_id = load8(call->span_id);

		bpf_map_delete_elem(&call_waits, &span_id);
		if (depth > 1)
			CALL_SLOT(stack, depth - 2)->lost_waits = 1;
	}
	CALL_SLOT(stack, call->tree)->tree_lost++;
	if (!stats)
		return;
	count_lost(stats, may_have_returned(call->function, call->changes) ? LOST_GOVERNOR
									   : LOST_UNPAIRED);
}

/* Loop counters are 64 bits wide: the verifier forgets a narrower one that is spilled. */

/* Drops the open calls that cannot be running when the stack is only `offset` deep. */
OUT_OF_LINE void drop_deeper(struct stack *stack, __u64 offset)
{
	if (!stack)
		return;
	for (__u64 i = 0; i < MAX_OPEN_CALLS; i++) {
		__u32 depth = *(volatile __u32 *)&stack->depth;

		if (!depth || CALL_SLOT(stack, depth - 1)->offset <= offset)
			return;
		drop_call(stack, depth);
	}
}

/*
 * Closes the innermost open call of a stack if it lies deeper than `offset`; returns whether. A
 * global function, since the verifier looks at those once and not anew at every round of a loop:
 * so it takes numbers only (pointers are Linux 5.13, commit e5069b9c23b3), and the program's own
 * context, which the verifier knows by the name of its type. `how`: the tgid, and the end above.
 */
__noinline int close_deeper(CONTEXT *context, __u64 address, __u64 now, __u64 offset, __u64 how)
{
	__u32 tgid = how;
	__u8 end = how >> 32;
	struct stack_key key = { .stack = address, .tgid = tgid };
	struct stack *stack = find_stack(&key);
	struct hit hit = { .context = context, .now = now, .stack = address, .tgid = tgid };

	if (!stack || !stack->depth || CALL_SLOT(stack, stack->depth - 1)->offset <= offset)
		return 0;
	/* It may have returned, unseen. */
	if (end == END_UNWOUND && may_have_returned(CALL_SLOT(stack, stack->depth - 1)->function,
						    CALL_SLOT(stack, stack->depth - 1)->changes)) {
		drop_call(stack, stack->depth);
		return 1;
	}
	if (end == END_PANICKED)
		note_panic(stack, CALL_SLOT(stack, stack->depth - 1));
	close_call(stack, stack->depth, &hit, end);
	return 1;
}

/* Ends the open calls that lie deeper than `offset`, as a panic or an exit does. */
INLINE void unwind_calls(struct hit *hit, __u64 offset, __u8 end)
{
	__u64 how = hit->tgid | (__u64)end << 32;

	for (__u64 i = 0; i < MAX_OPEN_CALLS; i++)
		if (!close_deeper(hit->context, hit->stack, hit->now, offset, how))
			return;
}

/*
 * Whose span is the parent: the rule of docs/architecture.md. True if it is the call around,
 * E; false if it is the context C.
 */
INLINE bool parent_is_call_around(const struct open_call *around, struct context *context,
				  __u32 tgid)
{
	if (context->source == SOURCE_NONE)
		return true;
	if (context->source == SOURCE_UNREADABLE)
		return false;
	if (load8(context->span_id) == load8(around->context_id))
		return true;
	/* Which span is current is found again at every call, so one that is older than E is no
	 * choice that the code made; only a context that was handed over can be that. */
	if (context->source == SOURCE_GO_SDK || context->source == SOURCE_THREAD)
		return context->start_ns <= around->start_ns;
	if (!same16(context->trace_id, around->trace_id))
		return false;
	return context_start(context, tgid) <= around->start_ns;
}

INLINE void place_call(struct stack *stack, struct open_call *call, __u32 depth,
		       struct context *context, struct hit *hit)
{
	struct open_call *around = depth ? CALL_SLOT(stack, depth - 1) : NULL;
	/* Processes of one parent have the same stacks, and call at the same nanosecond. */
	__u64 id = mix(hit->now + stack->id * 0x9e3779b97f4a7c15ULL +
		       hit->tgid * 0xd1b54a32d192ed03ULL) ^
		   mix(call->offset + hit->stack + settings.seed);

	store8(call->span_id, id ?: 1);
	call->source = context->source;
	if (around && parent_is_call_around(around, context, hit->tgid)) {
		copy16(call->trace_id, around->trace_id);
		store8(call->parent_id, load8(around->span_id));
		/* Always of the tree's own trace; a span of another that is merely current was not
		 * chosen. */
		store8(call->context_id,
		       context->source == SOURCE_NONE ||
				       !same16(context->trace_id, around->trace_id)
			       ? load8(around->context_id)
			       : load8(context->span_id));
		if (context->source == SOURCE_NONE)
			call->source = around->source;
		call->parent_kind = PARENT_CALL;
		call->trace_flags = around->trace_flags;
		call->tree = around->tree;
		call->dropped = around->dropped;
		return;
	}
	if (!around && context->source == SOURCE_NONE) {
		inherit(stack, hit->stack, hit->tgid, context);
		call->source = context->source;
	}
	if (context->source != SOURCE_NONE && context->source != SOURCE_UNREADABLE) {
		copy16(call->trace_id, context->trace_id);
		store8(call->parent_id, load8(context->span_id));
		store8(call->context_id, load8(context->span_id));
		call->parent_kind = PARENT_PROGRAM;
		call->trace_flags = context->trace_flags;
	} else {
		/* The last seven bytes must be random: sampling by trace id depends on them. */
		store8(call->trace_id, mix(id ^ settings.seed));
		store8(call->trace_id + 8, mix(id + hit->stack));
		store8(call->parent_id, 0);
		store8(call->context_id, 0);
		call->parent_kind = PARENT_NONE;
		call->trace_flags = 1;
	}
	if (around && same16(call->trace_id, around->trace_id)) {
		call->tree = around->tree;
		call->dropped = around->dropped;
		return;
	}
	call->tree = depth;
	call->dropped = decide_tree(call, hit->now, hit->governed);
}

/* A traced function begins. `offset` is where its return address lies. NULL: the call is not kept,
 * or was known. */
INLINE struct open_call *enter_call(struct stack *stack, struct hit *hit, __u64 offset,
				    struct context *context, struct statistics *stats)
{
	struct open_call *call;
	__u32 depth = stack->depth;

	if (depth && CALL_SLOT(stack, depth - 1)->offset >= offset) {
		drop_deeper(stack, offset);
		depth = stack->depth;
		if (depth) {
			call = CALL_SLOT(stack, depth - 1);
			if (call->offset == offset) {
				/* Begun anew after its stack grew, or, in the kernel, seen by a
				 * second link: still the same call. */
				if (call->function == hit->function &&
				    (hit->may_repeat || is_governed(hit->function, GOVERNED_TWICE)))
					return NULL;
				drop_call(stack, depth--);
			}
		}
	}
	count_call(stats);
	if (depth >= MAX_OPEN_CALLS) {
		count_lost(stats, LOST_TOO_DEEP);
		return NULL;
	}
	call = CALL_SLOT(stack, depth);
	call->start_ns = hit->now;
	call->offset = offset;
	call->bias = hit->bias;
	call->function = hit->function;
	call->children_ns = 0;
	call->descendants = 0;
	call->tree_spans = 0;
	call->tree_lost = 0;
	call->has_values = 0;
	call->has_waits = 0;
	call->lost_waits = 0;
	call->watched = 0;
	if (settings.keeps_waits) {
		if (!(hit->governed & GOVERNED_UNWATCHED))
			call->watched = (settings.waits ? WATCHED_WAITS : 0) |
					(settings.allocations ? WATCHED_ALLOCATIONS : 0);
		if (depth)
			call->watched |= CALL_SLOT(stack, depth - 1)->watched;
	}
	/* What has been begun before, and not ended, nobody knows of any more. */
	if (settings.keeps_waits && !depth)
		stack->wait.start_ns = 0;
	call->http_status = 0;
	call->http_method = 0;
	call->changes = hit->governed >> GOVERNED_CHANGES_SHIFT;
	place_call(stack, call, depth, context, hit);
	stack->depth = depth + 1;
	return call;
}

/* The open call that a return at `offset` will end; NULL if none is. */
INLINE struct open_call *call_to_leave(struct stack *stack, struct hit *hit, __u64 offset)
{
	struct open_call *call;
	__u32 depth = stack->depth;

	if (depth && CALL_SLOT(stack, depth - 1)->offset > offset) {
		drop_deeper(stack, offset);
		depth = stack->depth;
	}
	if (!depth)
		return NULL;
	call = CALL_SLOT(stack, depth - 1);
	return call->offset == offset && call->function == hit->function ? call : NULL;
}

/* Counts the return of a call that was begun before this session. */
INLINE void count_unpaired(__u32 function)
{
	struct statistics *stats = statistics_of(function);

	if (stats && !is_governed(function, GOVERNED_TWICE | GOVERNED_WITHDRAWN | GOVERNED_COUNTED))
		ADD(stats->unpaired_returns, 1);
}

/* A traced function ends. Returns whether that was an open call. */
INLINE bool leave_call(struct stack *stack, struct hit *hit, __u64 offset)
{
	struct open_call *call = call_to_leave(stack, hit, offset);

	if (call) {
		hit->bias = call->bias;
		close_call(stack, stack->depth, hit, END_RETURNED);
		return true;
	}
	/* Or it was too deep to be kept. */
	if (stack->depth < MAX_OPEN_CALLS)
		count_unpaired(hit->function);
	return false;
}

#endif
