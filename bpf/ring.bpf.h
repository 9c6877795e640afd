/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * The way out: a ring buffer, or a perf buffer for each CPU; user space then gives the map another
 * type. What finds no room is counted by the caller, never waited for. No record wakes a reader,
 * which the traced thread would pay for: user space looks by itself.
 */
#ifndef UNDERSPAN_RING_BPF_H
#define UNDERSPAN_RING_BPF_H

#include "common.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 22);
} ring SEC(".maps");

/*
 * Where a record is to be built; NULL: the ring is full. A perf buffer takes whole records only, so
 * for it they are built in `room`, which must be the caller's own: no scratch of a CPU, since
 * programs are preempted.
 */
INLINE void *reserve_record(void *room, __u32 kind, __u32 size)
{
	struct record_header *header;

	if (settings.perf_buffers) {
		header = room;
	} else {
		header = bpf_ringbuf_reserve(&ring, size, 0);
		if (!header)
			return NULL;
		/* Or the compiler looks for the fields of either before it looks for NULL. */
		asm volatile("" : "+r"(header));
	}
	header->kind = kind;
	header->size = size;
	return header;
}

/* Sends a whole record of any size. False: there is no room. */
INLINE bool output_record(void *context, void *record, __u64 size)
{
	if (settings.perf_buffers)
		return bpf_perf_event_output(context, &ring, BPF_F_CURRENT_CPU, record, size) == 0;
	return bpf_ringbuf_output(&ring, record, size, BPF_RB_NO_WAKEUP) == 0;
}

/* Sends what reserve_record gave. False: there is no room. */
INLINE bool submit_record(void *context, void *record, __u32 size)
{
	if (settings.perf_buffers)
		return output_record(context, record, size);
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return true;
}

#endif
