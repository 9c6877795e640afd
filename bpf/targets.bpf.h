/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* The processes under trace, by tgid. */
#ifndef UNDERSPAN_TARGETS_BPF_H
#define UNDERSPAN_TARGETS_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "records.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct target);
} targets SEC(".maps");

/*
 * By tgid, enum trampoline_verdict. An element is gone as soon as the process has other libraries,
 * so that a verdict on those it had before finds none to overwrite.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u32);
} trampolines SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct target_facts);
} target_facts SEC(".maps");

/* In no order: a new one takes the place of any. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, HIT_SAMPLES);
	__type(key, __u32);
	__type(value, struct hit_sample);
} hit_samples SEC(".maps");

#endif
