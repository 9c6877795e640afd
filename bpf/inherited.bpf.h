/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * The program's span that a goroutine inherits: what was current where the go statement that
 * started it ran. Never one of ours, since its tree may not be kept.
 */
#ifndef UNDERSPAN_INHERITED_BPF_H
#define UNDERSPAN_INHERITED_BPF_H

#include "labels.bpf.h"
#include "program_spans.bpf.h"

/* The goroutine that runs on the thread whose system stack g0 is; 0 if none does, as where the
 * runtime starts the first of all. False: that cannot be read. */
INLINE bool current_goroutine(__u64 g0, __u64 *current)
{
	__u64 m;

	return !read_user(&m, sizeof(m), g0 + M_OFFSET) && m &&
	       !read_user(current, sizeof(*current), m + settings.current_offset);
}

/*
 * The program's span on a goroutine as a call that is handed no context would find it: the span
 * that the SDK started last, or the context of the call around, whichever came later; else what
 * the goroutine itself inherited.
 */
INLINE void program_span_of(struct stack *goroutine, __u32 tgid, struct inherited *found)
{
	struct open_call *around =
		goroutine->depth ? CALL_SLOT(goroutine, goroutine->depth - 1) : NULL;
	struct context current = {};
	enum context_source source = current_span(goroutine, tgid, &current);

	/* The span that cannot be read may be newer than the call around. */
	if (source == SOURCE_UNREADABLE) {
		found->source = SOURCE_UNREADABLE;
	} else if (around && load8(around->context_id) &&
		   (source == SOURCE_NONE || current.start_ns <= around->start_ns)) {
		copy16(found->trace_id, around->trace_id);
		store8(found->span_id, load8(around->context_id));
		found->trace_flags = around->trace_flags;
		found->source = SOURCE_GO_GOROUTINE;
	} else if (source == SOURCE_GO_SDK) {
		copy16(found->trace_id, current.trace_id);
		store8(found->span_id, load8(current.span_id));
		found->trace_flags = current.trace_flags;
		found->source = SOURCE_GO_GOROUTINE;
	} else if (around && around->source == SOURCE_UNREADABLE) {
		found->source = SOURCE_UNREADABLE;
	} else {
		*found = goroutine->inherited;
	}
}

/* The same of the goroutine at `g`, of which nothing may be known. */
INLINE void program_span_on(__u64 g, __u32 tgid, struct inherited *found)
{
	struct stack_key key = { .stack = g, .tgid = tgid };
	struct stack *goroutine = bpf_map_lookup_elem(&stacks, &key);

	if (goroutine)
		program_span_of(goroutine, tgid, found);
	else
		take_inherited(&key, 0, found);
}

/* A go statement, run on the system stack of `g0`, has made the goroutine `g`. */
INLINE void goroutine_started(__u64 g0, __u64 g, __u32 tgid)
{
	struct stack_key child = { .stack = g, .tgid = tgid };
	struct inherited found = {};
	__u64 parent = 0;

	if (!current_goroutine(g0, &parent))
		found.source = SOURCE_UNREADABLE;
	else if (parent)
		program_span_on(parent, tgid, &found);
	if (found.source == SOURCE_NONE ||
	    read_user(&found.goroutine_id, sizeof(found.goroutine_id), g + settings.goid_offset)) {
		bpf_map_delete_elem(&inheritances, &child);
		return;
	}
	bpf_map_update_elem(&inheritances, &child, &found, BPF_ANY);
}

/* The last of the sources, for a call that has no other context and none around it. */
INLINE void inherit(struct stack *goroutine, __u64 stack, __u32 tgid, struct context *context)
{
	struct inherited *found = &goroutine->inherited;
	struct inherited of_current = {};

	/* On the system stack it is the goroutine's span that counts. */
	if (!goroutine->id) {
		__u64 current = 0;

		if (!current_goroutine(stack, &current))
			of_current.source = SOURCE_UNREADABLE;
		else if (current)
			program_span_on(current, tgid, &of_current);
		found = &of_current;
	}
	if (found->source == SOURCE_NONE && settings.labels_offset && goroutine->id &&
	    !has_no_labels(stack)) {
		read_labels(stack, tgid);
		found = &goroutine->labels;
	}
	copy16(context->trace_id, found->trace_id);
	store8(context->span_id, load8(found->span_id));
	context->trace_flags = found->trace_flags;
	context->source = found->source;
}

#endif
