/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* The spans that the program's own SDK has started and not ended, for each goroutine. */
#ifndef UNDERSPAN_PROGRAM_SPANS_BPF_H
#define UNDERSPAN_PROGRAM_SPANS_BPF_H

#include "go_context.bpf.h"
#include "goroutines.bpf.h"
#include "ring.bpf.h"
#include "told.bpf.h"

/* Kept after the span's end, since a context may hold it longer. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, struct span_key);
	__type(value, struct started_span);
} started_spans SEC(".maps");

#define SPAN_SLOT(goroutine, n) (&(goroutine)->spans[slot_index(n, MAX_PROGRAM_SPANS)])

/* Forgets the newest spans as far as they have ended. */
INLINE void pop_ended_spans(struct stack *goroutine)
{
	__u32 count = goroutine->span_count;

	for (__u64 i = 0; i < MAX_PROGRAM_SPANS && count; i++, count--)
		if (SPAN_SLOT(goroutine, count - 1)->pointer)
			break;
	goroutine->span_count = count;
}

/*
 * The innermost span of this goroutine that has not ended. Unreadable where that is not known: its
 * slot was taken by newer ones, or its end may have been missed since the table forgot it.
 */
INLINE enum context_source current_span(struct stack *goroutine, __u32 tgid, struct context *found)
{
	struct span_key key = { .tgid = tgid };
	struct started_span *started;
	struct program_span *span;

	pop_ended_spans(goroutine);
	if (!goroutine->span_count)
		return goroutine->spans_hidden ? SOURCE_UNREADABLE : SOURCE_NONE;
	span = SPAN_SLOT(goroutine, goroutine->span_count - 1);
	if (!span->pointer)
		return goroutine->spans_hidden ? SOURCE_UNREADABLE : SOURCE_NONE;
	key.pointer = span->pointer;
	started = bpf_map_lookup_elem(&started_spans, &key);
	if (!started || load8(started->span_id) != load8(span->span_id)) {
		span->pointer = 0;
		return SOURCE_UNREADABLE;
	}
	copy16(found->trace_id, span->trace_id);
	store8(found->span_id, load8(span->span_id));
	found->trace_flags = span->trace_flags;
	found->pointer = span->pointer;
	found->start_ns = span->start_ns;
	return SOURCE_GO_SDK;
}

/* When the span that a context holds was started; 0 if that was before this session. */
INLINE __u64 context_start(const struct context *context, __u32 tgid)
{
	struct span_key key = { .pointer = context->pointer, .tgid = tgid };
	struct started_span *span = bpf_map_lookup_elem(&started_spans, &key);

	/* The address may have been used again since. */
	if (!span || load8(span->span_id) != load8(context->span_id))
		return 0;
	return span->start_ns;
}

/* Tells user space once where the process's tracer is: its resource is that of our spans. */
OUT_OF_LINE void tell_tracer(struct pt_regs *regs, __u64 tracer_at, __u32 tgid)
{
	struct tracer_record record = {
		.header = { .kind = RECORD_TRACER, .size = sizeof(record) },
		.tgid = tgid,
	};

	if (!tracer_at || bpf_map_lookup_elem(&told, &tgid) ||
	    read_user(&record.tracer, sizeof(record.tracer), tracer_at) || !record.tracer)
		return;
	/* Of several threads that come here at once one sends it. */
	if (bpf_map_update_elem(&told, &tgid, &record.tracer, BPF_NOEXIST))
		return;
	if (!output_record(regs, &record, sizeof(record)))
		bpf_map_delete_elem(&told, &tgid);
}

INLINE void span_started(struct pt_regs *regs, __u32 tgid, __u64 type, __u64 pointer)
{
	struct stack_key key = { .stack = GO_G(regs), .tgid = tgid };
	struct span_key span_key = { .pointer = pointer, .tgid = tgid };
	struct started_span started = {};
	struct stack *goroutine;
	struct program_span *slot;
	struct context found = {};
	enum stack_result result;
	__u32 index = find_span_type(type);

	if (index == MAX_SPAN_TYPES || read_span(pointer, index, &found) != SOURCE_GO_CONTEXT)
		return;
	goroutine = need_goroutine(&key, STACK_POINTER(regs), &result);
	if (!goroutine)
		return;

	tell_tracer(regs, found.tracer_at, tgid);
	started.start_ns = bpf_ktime_get_ns();
	started.stack = key.stack;
	started.goroutine_id = goroutine->id;
	store8(started.span_id, load8(found.span_id));
	bpf_map_update_elem(&started_spans, &span_key, &started, BPF_ANY);

	pop_ended_spans(goroutine);
	slot = SPAN_SLOT(goroutine, goroutine->span_count);
	if (goroutine->span_count >= MAX_PROGRAM_SPANS && slot->pointer)
		goroutine->spans_hidden++;
	slot->start_ns = started.start_ns;
	copy16(slot->trace_id, found.trace_id);
	store8(slot->span_id, load8(found.span_id));
	slot->trace_flags = found.trace_flags;
	slot->pointer = pointer;
	goroutine->span_count++;
}

/* Tells user space of a span of the program's own, for outputs that show them. */
OUT_OF_LINE void send_program_span(struct pt_regs *regs, struct started_span *started,
				   __u64 pointer, __u32 index, __u32 tgid)
{
	struct program_span_record record = {
		.header = { .kind = RECORD_PROGRAM_SPAN, .size = sizeof(record) },
		.tgid = tgid,
	};
	__u16 name_offset = 0, parent_offset = 0, remote_offset = 0, status_offset = 0;
	__u64 name[2];
	__u32 status;

	if (!started)
		return;
#pragma unroll
	for (__u32 i = 0; i < MAX_SPAN_TYPES; i++) {
		if (i == index) {
			name_offset = settings.span_types[i].name_offset;
			parent_offset = settings.span_types[i].parent_offset;
			remote_offset = settings.span_types[i].remote_offset;
			status_offset = settings.span_types[i].status_offset;
		}
	}
	if (!name_offset)
		return;
	{
		struct context found = {};

		if (read_span(pointer, index, &found) != SOURCE_GO_CONTEXT)
			return;
		copy16(record.trace_id, found.trace_id);
		store8(record.span_id, load8(found.span_id));
	}
	if (read_user(name, sizeof(name), pointer + name_offset))
		return;
	if (parent_offset &&
	    read_user(record.parent_id, sizeof(record.parent_id), pointer + parent_offset + 16))
		return;
	if (remote_offset &&
	    read_user(&record.parent_remote, sizeof(record.parent_remote), pointer + remote_offset))
		return;
	if (status_offset) {
		if (read_user(&status, sizeof(status), pointer + status_offset))
			return;
		record.status = status;
	}
	record.start_ns = started->start_ns;
	record.end_ns = bpf_ktime_get_ns();
	record.goroutine_id = started->goroutine_id;
	record.name_size = name[1] < MAX_SPAN_NAME ? name[1] : MAX_SPAN_NAME;
	if (bpf_probe_read_user(record.name, MAX_SPAN_NAME, (const void *)name[0]) &&
	    bpf_probe_read_user(record.name, record.name_size & (MAX_SPAN_NAME - 1),
				(const void *)name[0]))
		record.name_size = 0;
	output_record(regs, &record, sizeof(record));
}

/* An attribute.KeyValue, as far as it is read, and how far they lie apart. */
struct attribute {
	__u64 name;
	__u64 name_size;
	__u64 kind;
	__u64 number;
	__u64 text;
	__u64 text_size;
};
#define ATTRIBUTE_SIZE 64
#define ATTRIBUTE_STRING 4

/* So that the verifier sees the bound, which the compiler takes for known. */
INLINE __u64 within_text(__u64 size)
{
	size &= MAX_ATTRIBUTE_TEXT - 1;
	asm volatile("" : "+r"(size));
	return size;
}

/* Whether it may be one that is wanted: *number, or 0 where its name cannot be read. */
INLINE bool wanted_attribute(const struct attribute *attribute, __u32 *number)
{
	__u64 size = attribute->name_size;
	__u8 name[MAX_ATTRIBUTE_TEXT] = {};
	bool possible = false;

#pragma unroll
	for (__u32 i = 0; i < MAX_ATTRIBUTE_NAMES; i++)
		possible |= size == settings.attribute_names[i].size;
	if (!possible || !size || size >= MAX_ATTRIBUTE_TEXT)
		return false;
	/* Names are constants of the program, which nobody may have touched yet. */
	*number = 0;
	if (read_user(name, within_text(size), attribute->name))
		return true;
#pragma unroll
	for (__u32 i = 0; i < MAX_ATTRIBUTE_NAMES; i++) {
		__u64 different = size ^ settings.attribute_names[i].size;

#pragma unroll
		for (__u32 at = 0; at < MAX_ATTRIBUTE_TEXT; at += 8)
			/* Volatile as the settings are: they are zeros only for the compiler. */
			different |=
				load8(name + at) ^
				*(const volatile __u64 *)(settings.attribute_names[i].text + at);
		if (!different) {
			*number = settings.attribute_names[i].number;
			return true;
		}
	}
	return false;
}

/* Tells user space of those attributes that decide about trees. */
OUT_OF_LINE void send_span_attributes(struct pt_regs *regs, __u64 pointer, __u32 index, __u32 tgid)
{
	struct span_attribute_record record = {
		.header = { .kind = RECORD_SPAN_ATTRIBUTE, .size = sizeof(record) },
		.tgid = tgid,
	};
	__u16 attributes_offset = 0;
	struct attribute attribute;
	struct context found = {};
	__u64 slice[2];

#pragma unroll
	for (__u32 i = 0; i < MAX_SPAN_TYPES; i++)
		if (i == index)
			attributes_offset = settings.span_types[i].attributes_offset;
	if (!attributes_offset || read_user(slice, sizeof(slice), pointer + attributes_offset) ||
	    read_span(pointer, index, &found) != SOURCE_GO_CONTEXT)
		return;
	store8(record.span_id, load8(found.span_id));
	for (__u64 i = 0; i < MAX_SPAN_ATTRIBUTES && i < slice[1]; i++) {
		if (read_user(&attribute, sizeof(attribute), slice[0] + i * ATTRIBUTE_SIZE))
			return;
		if (!wanted_attribute(&attribute, &record.name))
			continue;
		record.kind = attribute.kind;
		record.number = attribute.number;
		record.length = 0;
		if (record.kind == ATTRIBUTE_STRING) {
			__u64 size = within_text(attribute.text_size);

			/* Of a longer one as much as fits tells nothing. */
			record.length = MAX_ATTRIBUTE_TEXT;
			if (attribute.text_size < MAX_ATTRIBUTE_TEXT) {
				record.length = size;
				if (read_user(record.text, size, attribute.text))
					record.name = 0;
			}
		}
		output_record(regs, &record, sizeof(record));
	}
}

/* `type_index` is that of the type whose End this is. */
INLINE void span_ended(struct pt_regs *regs, __u32 tgid, __u64 pointer, __u32 type_index)
{
	struct span_key span_key = { .pointer = pointer, .tgid = tgid };
	struct started_span *started = bpf_map_lookup_elem(&started_spans, &span_key);
	struct stack_key key = { .tgid = tgid };
	struct stack *goroutine;
	bool found = false;

	if (!started || started->ended)
		return;
	started->ended = 1;
	if (settings.program_spans && settings.attribute_names[0].size)
		send_span_attributes(regs, pointer, type_index, tgid);
	if (settings.program_spans)
		send_program_span(regs, started, pointer, type_index, tgid);
	/* Often ended by another goroutine than the one that started it. */
	key.stack = started->stack;
	goroutine = bpf_map_lookup_elem(&stacks, &key);
	if (!goroutine || goroutine->id != started->goroutine_id)
		return;
	for (__u64 i = 0; i < MAX_PROGRAM_SPANS; i++) {
		if (goroutine->spans[i].pointer == pointer) {
			goroutine->spans[i].pointer = 0;
			found = true;
		}
	}
	if (!found && goroutine->spans_hidden)
		goroutine->spans_hidden--;
}

#endif
