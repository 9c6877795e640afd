/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* The way out. A full ring is counted by the caller, never waited for. */
#ifndef UNDERSPAN_RING_BPF_H
#define UNDERSPAN_RING_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "records.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 22);
} ring SEC(".maps");

static __always_inline void *reserve_record(__u32 kind, __u32 size)
{
	struct record_header *header = bpf_ringbuf_reserve(&ring, size, 0);

	if (header) {
		header->kind = kind;
		header->size = size;
	}
	return header;
}

/* Sends a whole record of any size. False: the ring is full. */
static __always_inline bool output_record(void *record, __u64 size)
{
	return bpf_ringbuf_output(&ring, record, size, BPF_RB_NO_WAKEUP) == 0;
}

/* Without a wake-up, which the traced thread would pay for: user space looks by itself. */
static __always_inline void submit_record(void *record)
{
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

/* The dynamic linker of a process has mapped or unmapped libraries. If there is no room, the next
 * change tells. */
static __always_inline void send_mapped(__u32 tgid, __u64 now)
{
	struct process_record *record = reserve_record(RECORD_PROCESS, sizeof(*record));

	if (!record)
		return;
	record->time_ns = now;
	record->file.device = 0;
	record->file.inode = 0;
	record->event = PROCESS_MAPPED;
	record->tgid = tgid;
	record->parent_tgid = 0;
	record->held = 0;
	submit_record(record);
}

#endif
