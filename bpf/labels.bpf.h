/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * A goroutine's pprof labels (runtime/pprof.SetGoroutineLabels) as a source of context: programs
 * put the ids of their span there for profilers. Recognised are a trace id and a span id under
 * keys that say so, whatever their spelling ("trace_id", "traceID", "trace.id"), as hexadecimal
 * digits, and "traceparent" as W3C Trace Context has it.
 */
#ifndef UNDERSPAN_LABELS_BPF_H
#define UNDERSPAN_LABELS_BPF_H

#include "goroutines.bpf.h"

#define MOST_LABELS 16
#define LONGEST_KEY 11 /* traceparent */
#define TRACEPARENT_BYTES 55

/* runtime/map.go up to Go 1.23: eight entries a bucket. */
#define BUCKET_ENTRIES 8
#define BUCKET_KEYS 8
#define BUCKET_VALUES (BUCKET_KEYS + BUCKET_ENTRIES * 16)
#define SMALLEST_TOP 5 /* minTopHash; less is no entry */

struct go_string {
	__u64 data, size;
};

struct label_entry {
	struct go_string key, value;
};

/* Eight letters as they lie in memory. */
#define EIGHT(a, b, c, d, e, f, g, h)                                                              \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 |   \
	 (__u64)(f) << 40 | (__u64)(g) << 48 | (__u64)(h) << 56)
#define LOWER_CASE 0x2020202020202020ULL

enum label_key { LABEL_OTHER, LABEL_TRACE_ID, LABEL_SPAN_ID, LABEL_TRACEPARENT };

/* `text` is filled up with zeros. Between the words there may be one character. */
INLINE enum label_key label_key(const __u8 *text, __u64 size)
{
	__u64 letters = load8(text) | LOWER_CASE;

	if (size == 7 && letters == EIGHT('t', 'r', 'a', 'c', 'e', 'i', 'd', ' '))
		return LABEL_TRACE_ID;
	if (size == 8 && (letters | EIGHT(0, 0, 0, 0, 0, 0xff, 0, 0)) ==
				 EIGHT('t', 'r', 'a', 'c', 'e', 0xff, 'i', 'd'))
		return LABEL_TRACE_ID;
	if (size == 6 && letters == EIGHT('s', 'p', 'a', 'n', 'i', 'd', ' ', ' '))
		return LABEL_SPAN_ID;
	if (size == 7 && (letters | EIGHT(0, 0, 0, 0, 0xff, 0, 0, 0)) ==
				 EIGHT('s', 'p', 'a', 'n', 0xff, 'i', 'd', ' '))
		return LABEL_SPAN_ID;
	if (size == LONGEST_KEY && letters == EIGHT('t', 'r', 'a', 'c', 'e', 'p', 'a', 'r'))
		return LABEL_TRACEPARENT;
	return LABEL_OTHER;
}

/* Eight bytes in wire order from the sixteen digits at `from`; 0 if they are none, or cannot be
 * read. Without branches, of which the verifier would follow each. */
INLINE __u64 hex_id(__u64 from)
{
	__u64 id = 0, wrong = 0;
	__u8 digits[16];

	if (read_user(digits, sizeof(digits), from))
		return 0;
#pragma clang loop unroll(disable)
	for (__u64 i = 0; i < 16; i++) {
		__u64 digit = digits[i] | 0x20;
		__u64 number = (digit & 15) + 9 * (digit >> 6);
		__u64 above_nine = (9 - number) >> 63;

		wrong |=
			(number & ~15ULL) | (digit ^ ('0' + number + above_nine * ('a' - '9' - 1)));
		id = id << 4 | (number & 15);
	}
	return wrong ? 0 : __builtin_bswap64(id);
}

/*
 * Takes what one label of a goroutine says into its element; returns whether it could be read. A
 * global function, which the verifier looks at once; so it takes numbers only.
 */
__noinline int take_label(__u64 stack, __u64 tgid, __u64 key_data, __u64 key_size,
			  __u64 label_value)
{
	struct stack_key key = { .stack = stack, .tgid = tgid };
	struct stack *goroutine = bpf_map_lookup_elem(&stacks, &key);
	__u8 text[16] = {};
	struct go_string value;
	struct inherited *found;
	enum label_key which;

	if (!goroutine || key_size < 6 || key_size > LONGEST_KEY)
		return 1;
	found = &goroutine->labels;
	if (read_user(text, slot_index(key_size, sizeof(text)), key_data))
		return 0;
	which = label_key(text, key_size);
	if (which == LABEL_OTHER)
		return 1;
	if (read_user(&value, sizeof(value), label_value))
		return 0;
	if (which == LABEL_TRACE_ID && value.size == 32) {
		store8(found->trace_id, hex_id(value.data));
		store8(found->trace_id + 8, hex_id(value.data + 16));
	} else if (which == LABEL_SPAN_ID && value.size == 16) {
		store8(found->span_id, hex_id(value.data));
	} else if (which == LABEL_TRACEPARENT && value.size == TRACEPARENT_BYTES) {
		/* 00-TRACEID-SPANID-01 */
		store8(found->trace_id, hex_id(value.data + 3));
		store8(found->trace_id + 8, hex_id(value.data + 19));
		store8(found->span_id, hex_id(value.data + 36));
		if (read_user(text, 1, value.data + TRACEPARENT_BYTES - 1))
			return 0;
		found->trace_flags = text[0] & 1;
	}
	return 1;
}

/* From Go 1.24: a slice of labels. False: not all could be read. */
INLINE bool take_slice(__u64 stack, __u64 tgid, __u64 labels)
{
	struct go_string slice;

	if (read_user(&slice, sizeof(slice), labels))
		return false;
	for (__u64 i = 0; i < MOST_LABELS; i++) {
		__u64 label = slice.data + i * sizeof(struct label_entry);
		struct go_string key;

		if (i >= slice.size)
			return true;
		if (read_user(&key, sizeof(key), label) ||
		    !take_label(stack, tgid, key.data, key.size, label + sizeof(key)))
			return false;
	}
	return true;
}

/* Up to Go 1.23: a pointer to a map[string]string. More than one bucket is too much to read. */
INLINE bool take_map(__u64 stack, __u64 tgid, __u64 labels)
{
	struct {
		__u64 count;
		__u8 flags, log_buckets;
		__u16 overflows;
		__u32 seed;
		__u64 buckets;
	} map;
	__u8 top[BUCKET_ENTRIES];
	__u64 at;

	if (read_user(&at, sizeof(at), labels))
		return false;
	if (!at)
		return true;
	if (read_user(&map, sizeof(map), at))
		return false;
	if (!map.count)
		return true;
	if (map.log_buckets || read_user(top, sizeof(top), map.buckets))
		return false;
	for (__u64 i = 0; i < BUCKET_ENTRIES; i++) {
		__u64 entry = map.buckets + BUCKET_KEYS + i * sizeof(struct go_string);
		struct go_string key;

		if (top[i] < SMALLEST_TOP)
			continue;
		if (read_user(&key, sizeof(key), entry) ||
		    !take_label(stack, tgid, key.data, key.size,
				entry + BUCKET_VALUES - BUCKET_KEYS))
			return false;
	}
	return true;
}

/* Most goroutines have none, which needs no look at their element. */
INLINE bool has_no_labels(__u64 g)
{
	__u64 labels;

	return !read_user(&labels, sizeof(labels), g + settings.labels_offset) && !labels;
}

/* Looks at the labels of a goroutine and leaves what they say in its element. Global as above. */
__noinline int read_labels(__u64 stack, __u64 tgid)
{
	struct stack_key key = { .stack = stack, .tgid = tgid };
	struct stack *goroutine = bpf_map_lookup_elem(&stacks, &key);
	__u64 labels;
	bool read;

	if (!goroutine)
		return 0;
	store8(goroutine->labels.trace_id, 0);
	store8(goroutine->labels.trace_id + 8, 0);
	store8(goroutine->labels.span_id, 0);
	goroutine->labels.trace_flags = 1;
	goroutine->labels.source = SOURCE_NONE;
	if (read_user(&labels, sizeof(labels), stack + settings.labels_offset)) {
		goroutine->labels.source = SOURCE_UNREADABLE;
		return 0;
	}
	if (!labels)
		return 0;
	read = settings.labels_are_map ? take_map(stack, tgid, labels)
				       : take_slice(stack, tgid, labels);
	if (load8(goroutine->labels.span_id) &&
	    (load8(goroutine->labels.trace_id) || load8(goroutine->labels.trace_id + 8)))
		goroutine->labels.source = SOURCE_GO_LABELS;
	else if (!read)
		goroutine->labels.source = SOURCE_UNREADABLE;
	return 0;
}

#endif
