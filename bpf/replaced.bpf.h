/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* While a link takes another's place, both see each hit. */
#ifndef UNDERSPAN_REPLACED_BPF_H
#define UNDERSPAN_REPLACED_BPF_H

#include "governed.bpf.h"

/*
 * The newer link sees a hit first, since the kernel puts what it is given at the head of its list
 * (consumer_add() in kernel/events/uprobes.c), and leaves word here. By thread and function: the
 * link's generation.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u32);
} seen_hits SEC(".maps");

/* Whether generation `a` came after `b`; the distance is far less than half of all there are. */
INLINE bool is_newer(__u32 a, __u32 b)
{
	return (__s32)((a - b) << (32 - COOKIE_GENERATION_BITS)) > 0;
}

/* Whether the entry has been seen by a newer link; `bits` are the function's of enum governed. */
INLINE bool is_seen(struct pt_regs *regs, __u32 function, __u32 bits)
{
	__u64 key = bpf_get_current_pid_tgid() << 32 | function;
	__u32 generation, *newer;

	/* Without cookies each link has one function, and none is replaced. */
	if (!settings.has_cookies || !(bits & GOVERNED_TWICE))
		return false;
	generation = bpf_get_attach_cookie(regs) >> COOKIE_GENERATION_SHIFT;
	newer = bpf_map_lookup_elem(&seen_hits, &key);
	if (newer && is_newer(*newer, generation)) {
		bpf_map_delete_elem(&seen_hits, &key);
		return true;
	}
	bpf_map_update_elem(&seen_hits, &key, &generation, BPF_ANY);
	return false;
}

#endif
