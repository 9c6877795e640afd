/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * Exact counts of every call, whatever is filtered. Sharded by CPU rather than per CPU: programs
 * are preempted on new kernels, so a per-CPU counter would need atomics as well, and a histogram
 * for every possible CPU is far larger.
 */
#ifndef UNDERSPAN_STATISTICS_BPF_H
#define UNDERSPAN_STATISTICS_BPF_H

#include "common.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* functions * shards */
	__type(key, __u32);
	__type(value, struct statistics);
} statistics SEC(".maps");

INLINE struct statistics *statistics_of(__u32 function)
{
	__u32 shards = settings.shard_mask + 1;
	__u32 index = function * shards + (bpf_get_smp_processor_id() & settings.shard_mask);

	return bpf_map_lookup_elem(&statistics, &index);
}

/* Not 0: calls may have been counted since user space last set it to 0. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} activity SEC(".maps");

/*
 * First the count: user space clears the flag before it reads the counts, so that a call which it
 * does not see there sets the flag anew. It is mostly set, and all CPUs share its cache line, so it
 * is not written for nothing.
 */
INLINE void count_call(struct statistics *stats)
{
	__u32 zero = 0;
	volatile __u32 *active;

	ADD(stats->calls, 1);
	active = bpf_map_lookup_elem(&activity, &zero);
	if (active && !*active)
		*active = 1;
}

/* Hits of sites that belong to no function are counted for all modules together. */
INLINE void count_support(void)
{
	struct statistics *stats = statistics_of(0);

	if (stats)
		count_call(stats);
}

/* A hit of a site by which it is seen what calls wait for, or allocate; it is counted as support,
 * too. */
INLINE void count_watch(void)
{
	struct statistics *stats = statistics_of(0);

	if (stats)
		ADD(stats->returns, 1);
}

/* Four buckets an octave with boundaries 2^(k/4): any value is within 9.1 % of its bucket's
 * geometric middle. */
INLINE __u32 histogram_bucket(__u64 ns)
{
	__u32 octave = 0, bucket;
	__u64 rest = ns;
	__u32 mantissa;

	if (ns < (1ULL << HISTOGRAM_FIRST_OCTAVE))
		return 0;
	if (rest >> 32) {
		octave += 32;
		rest >>= 32;
	}
	if (rest >> 16) {
		octave += 16;
		rest >>= 16;
	}
	if (rest >> 8) {
		octave += 8;
		rest >>= 8;
	}
	if (rest >> 4) {
		octave += 4;
		rest >>= 4;
	}
	if (rest >> 2) {
		octave += 2;
		rest >>= 2;
	}
	if (rest >> 1) {
		octave += 1;
	}
	/* The leading one and the 31 bits below it. */
	mantissa = (ns << (63 - octave)) >> 32;
	bucket = 4 * (octave - HISTOGRAM_FIRST_OCTAVE) + (mantissa >= 2553802834U) +
		 (mantissa >= 3037000500U) + (mantissa >= 3611622604U);
	return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

INLINE void count_end(struct statistics *stats, __u64 duration_ns, __u64 self_ns, bool error)
{
	ADD(stats->returns, 1);
	ADD(stats->total_ns, duration_ns);
	ADD(stats->self_ns, self_ns);
	ADD(stats->histogram[histogram_bucket(duration_ns) & (HISTOGRAM_BUCKETS - 1)], 1);
	if (error)
		ADD(stats->errors, 1);
	raise(&stats->max_ns, duration_ns);
	raise(&stats->inverse_min_ns, ~duration_ns);
}

/* `reason` is a constant or was stored from one, but the verifier must see the bound. */
INLINE void count_lost(struct statistics *stats, __u32 reason)
{
	if (reason < LOST_REASONS)
		ADD(stats->lost[reason], 1);
}

#endif
