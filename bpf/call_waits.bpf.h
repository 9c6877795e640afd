/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* What open calls have waited for, and allocated. */
#ifndef UNDERSPAN_CALL_WAITS_BPF_H
#define UNDERSPAN_CALL_WAITS_BPF_H

#include "common.bpf.h"

/* By span id: what will be sent of them. Where user space ends calls, nobody takes theirs away: the
 * oldest make room. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, struct waits_record);
} call_waits SEC(".maps");

#endif
