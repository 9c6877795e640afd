/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * Whether a tree is kept: decided once, for the call that begins it, and inherited by all beneath.
 */
#ifndef UNDERSPAN_TREES_BPF_H
#define UNDERSPAN_TREES_BPF_H

#include "context.bpf.h"
#include "governed.bpf.h"

/* When the next tree is due at the wanted rate; one for all modules of a session. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} next_tree SEC(".maps");

/* Generic cell rate algorithm: one compare-and-exchange, no timer. */
INLINE bool within_rate(__u64 now)
{
	__u32 zero = 0;
	__u64 *next = bpf_map_lookup_elem(&next_tree, &zero);

	if (!next)
		return true;
#if ATOMICS
	for (int i = 0; i < 4; i++) {
		__u64 seen = *(volatile __u64 *)next;
		__u64 due = seen > now ? seen : now;

		if (due - now > settings.tree_burst_ns)
			return false;
		if (__sync_val_compare_and_swap(next, seen, due + settings.tree_interval_ns) ==
		    seen)
			return true;
	}
	return false;
#else
	{
		__u64 seen = *(volatile __u64 *)next;
		__u64 due = seen > now ? seen : now;

		if (due - now > settings.tree_burst_ns)
			return false;
		*next = due + settings.tree_interval_ns;
		return true;
	}
#endif
}

/* The last seven bytes of a trace id, which OpenTelemetry's consistent sampling compares. */
INLINE __u64 trace_randomness(const __u8 *trace_id)
{
	return __builtin_bswap64(load8(trace_id + 8)) & ((1ULL << 56) - 1);
}

/* 0: keep. Otherwise 1 + the reason why not. */
INLINE __u8 decide_tree(const struct open_call *call, __u64 now, __u32 governed)
{
	if (call->source == SOURCE_UNREADABLE && !settings.roots)
		return 1 + LOST_UNREADABLE;
	if (call->source == SOURCE_NONE && !settings.roots)
		return 1 + LOST_ROOTLESS;
	if (!(call->trace_flags & 1) && !settings.unsampled)
		return 1 + LOST_UNSAMPLED;
	if (settings.sample_threshold &&
	    trace_randomness(call->trace_id) < settings.sample_threshold)
		return 1 + LOST_SAMPLED_OUT;
	if (governed & GOVERNED_THINNED)
		return 1 + LOST_GOVERNOR;
	if (settings.tree_interval_ns && !within_rate(now))
		return 1 + LOST_RATE;
	return 0;
}

#endif
