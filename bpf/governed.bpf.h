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

INLINE bool is_governed(__u32 function, __u32 how)
{
	__u32 *bits = bpf_map_lookup_elem(&governed, &function);

	return bits && (*bits & how);
}

/*
 * The same of what is there only while links are replaced or taken back. Kernels without atomics
 * have no links of many sites, which alone are replaced, and no room on the stack for this.
 */
INLINE bool is_being_changed(__u32 function, __u32 how)
{
	return ATOMICS && is_governed(function, how);
}

#endif
