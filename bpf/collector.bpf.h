/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * Go's garbage collector: its pauses, as the runtime itself measures them, and its cycles. The
 * world is stopped by one goroutine at a time, so a process has at most one pause.
 */
#ifndef UNDERSPAN_COLLECTOR_BPF_H
#define UNDERSPAN_COLLECTOR_BPF_H

#include "registers.bpf.h"
#include "ring.bpf.h"

struct collector {
	__u64 cycle_ns; /* since when it has been at work; 0: not known, or it is not */
	__u64 ends; /* the cycle does, with the pause */
	struct gc_record record; /* of the pause; its start_ns is 0 while there is none */
};

/* By process. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct collector);
} collectors SEC(".maps");

INLINE struct collector *collector_of(__u32 tgid)
{
	struct collector *known = bpf_map_lookup_elem(&collectors, &tgid);
	struct collector blank = {};

	if (known)
		return known;
	blank.record.header.kind = RECORD_GC;
	blank.record.header.size = sizeof(blank.record);
	blank.record.tgid = tgid;
	bpf_map_update_elem(&collectors, &tgid, &blank, BPF_NOEXIST);
	return bpf_map_lookup_elem(&collectors, &tgid);
}

/* The beginning is told too: a call may end before anybody could say when the pause does. */
INLINE void begin_pause(void *context, struct collector *collector, __u8 phase, __u64 now)
{
	struct gc_record *record = &collector->record;

	if (phase == GC_SWEEP_TERMINATION) {
		collector->cycle_ns = now;
		record->heap_live = 0;
		record->heap_goal = 0;
	}
	record->start_ns = now;
	record->end_ns = 0;
	record->cycle_ns = 0;
	record->event = GC_PAUSE_BEGINS;
	record->phase = phase;
	output_record(context, record, sizeof(*record));
}

INLINE void end_pause(void *context, struct collector *collector, __u64 end_ns)
{
	struct gc_record *record = &collector->record;

	/* Others stop the world too. */
	if (record->start_ns) {
		record->end_ns = end_ns;
		record->event = GC_PAUSE_ENDS;
		if (collector->ends) {
			record->event = GC_CYCLE_ENDS;
			record->cycle_ns = collector->cycle_ns;
			collector->cycle_ns = 0;
		}
		output_record(context, record, sizeof(*record));
	}
	record->start_ns = 0;
	collector->ends = 0;
}

INLINE void collect(struct pt_regs *regs, struct site *site, __u32 tgid, __u64 now)
{
	struct collector *collector = collector_of(tgid);

	if (!collector)
		return;
	switch (site->kind) {
	case SITE_GC_STOP:
		begin_pause(regs, collector, site->context_at, now);
		break;
	case SITE_GC_START:
		/* It began a moment later than its probe was hit. */
		if (site->context_at && collector->record.start_ns + go_argument(regs, 1) < now)
			now = collector->record.start_ns + go_argument(regs, 1);
		end_pause(regs, collector, now);
		break;
	case SITE_GC_LIVE:
		collector->record.heap_live = go_argument(regs, 1);
		break;
	case SITE_GC_GOAL:
		collector->record.heap_goal = go_argument(regs, site->context_at ? 1 : 0);
		break;
	case SITE_GC_END:
		collector->ends = 1;
		if (!site->context_at)
			end_pause(regs, collector, now);
		break;
	}
}

#endif
