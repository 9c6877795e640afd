/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * From a context.Context to the span that it carries: the OpenTelemetry Go SDK keeps the current
 * span as the value of a key of type trace.traceContextKeyType.
 */
#ifndef UNDERSPAN_GO_CONTEXT_BPF_H
#define UNDERSPAN_GO_CONTEXT_BPF_H

#include "context.bpf.h"
#include "memory.bpf.h"
#include "registers.bpf.h"

/* go.opentelemetry.io/otel/trace.SpanContext, as far as it is needed. */
struct span_context {
	__u8 trace_id[16];
	__u8 span_id[8];
	__u8 flags;
	__u8 pad[7];
};

/* What context.valueCtx holds. A Go interface is two words. */
struct value_node {
	__u64 parent_itab, parent_data;
	__u64 key_type, key_data;
	__u64 value_type, value_data;
};

/* Contexts other than *context.valueCtx, by itab as the module's file numbers it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u64);
	__type(value, struct context_type);
} context_types SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct learned);
} learned SEC(".maps");

INLINE struct learned *learned_types(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&learned, &zero);
}

/* Index into settings.span_types, or MAX_SPAN_TYPES. `type` as the module's file numbers it. */
INLINE __u32 find_span_type(__u64 type)
{
#pragma unroll
	for (__u32 i = 0; i < MAX_SPAN_TYPES; i++)
		if (settings.span_types[i].type && settings.span_types[i].type == type)
			return i;
	return MAX_SPAN_TYPES;
}

INLINE __u64 span_context_offset(__u32 index)
{
#pragma unroll
	for (__u32 i = 0; i < MAX_SPAN_TYPES; i++)
		if (i == index)
			return settings.span_types[i].context_offset;
	return 0;
}

INLINE __u64 span_tracer_offset(__u32 index)
{
#pragma unroll
	for (__u32 i = 0; i < MAX_SPAN_TYPES; i++)
		if (i == index)
			return settings.span_types[i].tracer_offset;
	return 0;
}

/* Fills *found from a span in the target. An invalid SpanContext (no trace id) is none. */
INLINE enum context_source read_span(__u64 span, __u32 type_index, struct context *found)
{
	__u64 offset = span_context_offset(type_index);
	struct span_context read;

	if (offset == NO_SPAN_CONTEXT)
		return SOURCE_NONE;
	if (read_user(&read, sizeof(read), span + offset))
		return SOURCE_UNREADABLE;
	if (!load8(read.trace_id) && !load8(read.trace_id + 8))
		return SOURCE_NONE;
	copy16(found->trace_id, read.trace_id);
	store8(found->span_id, load8(read.span_id));
	found->trace_flags = read.flags;
	found->pointer = span;
	offset = span_tracer_offset(type_index);
	if (offset)
		found->tracer_at = span + offset;
	return SOURCE_GO_CONTEXT;
}

/* What is known of a context's type. Tables that are made at run time are not among the known, so
 * the type that the table names counts as well. */
INLINE struct context_type *context_type_of(__u64 itab, __u64 bias, __u64 interface_type)
{
	__u64 key = itab - bias;
	struct context_type *type = bpf_map_lookup_elem(&context_types, &key);
	__u64 head[2]; /* internal/abi.ITab */

	if (type)
		return type;
	if (read_user(head, sizeof(head), itab) || head[0] - bias != interface_type)
		return NULL;
	key = head[1] - bias;
	return bpf_map_lookup_elem(&context_types, &key);
}

/* Walks a context to its current span. What cannot be followed to the end is unreadable. */
OUT_OF_LINE enum context_source walk_context(__u64 itab, __u64 data, __u64 bias,
					     struct context *found)
{
	struct learned *known = learned_types();
	__u64 value_itab, key_type, interface_type;

	if (!known || !found)
		return SOURCE_UNREADABLE;
	value_itab = settings.value_itab;
	key_type = settings.key_type ?: known->key_type;
	interface_type = settings.context_interface;

	for (__u64 hop = 0; hop < MAX_CONTEXT_HOPS; hop++) {
		struct value_node node;
		__u64 offset = 0;
		bool guessed = false;

		if (!itab)
			return SOURCE_NONE;
		if (hop >= settings.max_hops) {
			found->truncated = 1;
			return SOURCE_UNREADABLE;
		}
		if (itab - bias == value_itab) {
			if (read_user(&node, sizeof(node), data))
				return SOURCE_UNREADABLE;
			/* Not learned yet: this may be the value that is looked for. */
			if (!key_type)
				return SOURCE_UNREADABLE;
			if (node.key_type - bias == key_type) {
				__u32 type = find_span_type(node.value_type - bias);

				if (type == MAX_SPAN_TYPES)
					return SOURCE_UNREADABLE;
				return read_span(node.value_data, type, found);
			}
		} else {
			struct context_type *type = context_type_of(itab, bias, interface_type);

			if (!type)
				return SOURCE_UNREADABLE;
			if (type->wraps == WRAPS_NONE)
				return SOURCE_NONE;
			offset = type->parent_offset;
			guessed = type->wraps == WRAPS_UNKNOWN;
			/* A nil pointer to a type that embeds a context. */
			if (!data && !guessed)
				return SOURCE_NONE;
			if (read_user(&node, 2 * sizeof(__u64), data + offset))
				return SOURCE_UNREADABLE;
		}
		if (guessed && !node.parent_itab)
			return SOURCE_UNREADABLE;
		itab = node.parent_itab;
		data = node.parent_data;
	}
	return SOURCE_UNREADABLE;
}

INLINE bool is_context(__u64 itab, __u64 bias)
{
	__u64 key = itab - bias;

	return settings.value_itab &&
	       (key == settings.value_itab || bpf_map_lookup_elem(&context_types, &key));
}

/* Of a function whose arguments' types are not known, but which words there are: what has the
 * address of a context's itab is a context. */
INLINE bool search_context(const struct pt_regs *regs, __u32 words, __u64 bias, __u64 *interface)
{
#pragma unroll
	for (__u32 i = 0; i < 8; i++) {
		if ((words & (1 << i)) && is_context(go_argument(regs, i), bias)) {
			interface[0] = go_argument(regs, i);
			interface[1] = go_argument(regs, i + 1);
			return true;
		}
	}
	return false;
}

/* The context that a traced function was called with, by the place its site names. */
INLINE enum context_source explicit_context(const struct pt_regs *regs, const struct site *site,
					    __u64 bias, struct context *found)
{
	__u64 interface[2] = {};
	__u64 stack = STACK_POINTER(regs) + 8 + site->context_at;
	__u64 request = 0;

	switch (site->context_place) {
	case CONTEXT_REGISTERS:
		interface[0] = go_argument(regs, site->context_at);
		interface[1] = go_argument(regs, site->context_at + 1);
		break;
	case CONTEXT_STACK:
		if (read_user(interface, sizeof(interface), stack))
			return SOURCE_UNREADABLE;
		break;
	case CONTEXT_REQUEST_STACK:
		if (read_user(&request, sizeof(request), stack))
			return SOURCE_UNREADABLE;
		break;
	case CONTEXT_REQUEST_REGISTER:
		request = go_argument(regs, site->context_at);
		break;
	case CONTEXT_SEARCH:
		if (!search_context(regs, site->context_at, bias, interface))
			return SOURCE_NONE;
		break;
	default:
		return SOURCE_NONE;
	}
	if (request && read_user(interface, sizeof(interface), request + settings.request_context))
		return SOURCE_UNREADABLE;
	return walk_context(interface[0], interface[1], bias, found);
}

#endif
