/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* The processes whose tracer user space has been told of, by tgid. Also those that are no targets
 * yet: of an executable that is traced whole a process begins before it is known. */
#ifndef UNDERSPAN_TOLD_BPF_H
#define UNDERSPAN_TOLD_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u64);
} told SEC(".maps");

#endif
