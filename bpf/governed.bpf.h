/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* What user space has done to functions that cost more than their budget. */
#ifndef UNDERSPAN_GOVERNED_BPF_H
#define UNDERSPAN_GOVERNED_BPF_H

#include "common.bpf.h"

/* By a function's number: bits of enum governed. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* functions */
	__type(key, __u32);
	__type(value, __u32);
} governed SEC(".maps");

INLINE __u32 governed_bits(__u32 function)
{
	__u32 *bits = bpf_map_lookup_elem(&governed, &function);

	return bits ? *(volatile __u32 *)bits : 0;
}

INLINE bool is_governed(__u32 function, __u32 how)
{
	return governed_bits(function) & how;
}

/* There were moments, since a call began that found so many changes, when returns were not seen. */
INLINE bool may_have_returned(__u32 function, __u32 changes)
{
	__u32 bits = governed_bits(function);

	return (bits & (GOVERNED_WITHDRAWN | GOVERNED_COUNTED)) ||
	       bits >> GOVERNED_CHANGES_SHIFT != changes;
}

#endif
