/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * Where in the code calls allocate: the frames between the allocation and the traced function, by
 * the frame pointers that Go keeps.
 */
#ifndef UNDERSPAN_ALLOCATION_STACKS_BPF_H
#define UNDERSPAN_ALLOCATION_STACKS_BPF_H

#include "goroutines.bpf.h"
#include "registers.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct allocation_key);
	__type(value, struct allocation_stack);
} allocation_stacks SEC(".maps");

/* An empty element, too large for a program's stack. Never written. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct allocation_stack);
} blank_allocation SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct allocation_rest);
} allocation_rest SEC(".maps");

/* A way up a stack. */
struct frames {
	__u64 first; /* where the innermost frame keeps the one around it */
	__u64 low; /* it lies not below */
	__u64 end; /* where the return address of the traced call lies; 0: not known */
	__u64 bias;
};

/* Returns the hash of the frames; with `into` notes them there. */
OUT_OF_LINE __u64 walk_frames(const struct frames *frames, struct allocation_stack *into)
{
	__u64 next[2], hash = 0, at = frames->first, low = frames->low;
	__u32 count = 0;

	for (__u64 i = 0; i < MAX_ALLOCATION_FRAMES; i++) {
		if (at < low || at + 8 >= frames->end || read_user(next, sizeof(next), at))
			break;
		next[1] -= frames->bias;
		hash = mix(hash + next[1]);
		if (into)
			into->frames[slot_index(i, MAX_ALLOCATION_FRAMES)] = next[1];
		count++;
		low = at + sizeof(next);
		at = next[0];
	}
	if (into) {
		into->cut = at + 8 != frames->end;
		into->count = count;
	}
	return hash;
}

/* The frames do not change meanwhile, so those that are new can be looked at again; and whoever
 * else finds them new notes the same. */
OUT_OF_LINE void count_stack(const struct frames *frames, __u32 function, __u64 bytes)
{
	struct allocation_key key = { .function = function };
	struct allocation_stack *known, *blank;
	struct allocation_rest *rest;
	__u32 zero = 0;

	if (!frames)
		return;
	key.frames = walk_frames(frames, NULL);
	known = bpf_map_lookup_elem(&allocation_stacks, &key);
	if (!known) {
		blank = bpf_map_lookup_elem(&blank_allocation, &zero);
		if (!blank)
			return;
		bpf_map_update_elem(&allocation_stacks, &key, blank, BPF_NOEXIST);
		known = bpf_map_lookup_elem(&allocation_stacks, &key);
		if (known)
			walk_frames(frames, known);
	}
	if (known) {
		ADD(known->bytes, bytes);
		ADD(known->samples, 1);
		return;
	}
	rest = bpf_map_lookup_elem(&allocation_rest, &zero);
	if (rest) {
		ADD(rest->bytes, bytes);
		ADD(rest->samples, 1);
	}
}

#endif
