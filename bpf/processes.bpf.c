// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/* Processes as they fork, execute and exit. */
#define SETTINGS struct process_settings
#include "open_calls.bpf.h"
#include "ring.bpf.h"
#include "statistics.bpf.h"
#include "targets.bpf.h"
#include "told.bpf.h"
#include <bpf/bpf_core_read.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile struct process_settings settings = {};

typedef struct {
	int counter;
} atomic_t;

struct signal_struct {
	atomic_t live; /* threads that have not exited */
} __attribute__((preserve_access_index));

struct task_struct {
	int tgid;
	struct signal_struct *signal;
} __attribute__((preserve_access_index));

/* Events that did not fit the ring: user space then looks at /proc itself. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost_events SEC(".maps");

static __always_inline void send_event(__u32 event, __u32 tgid, __u32 parent_tgid)
{
	struct process_record *record = reserve_record(RECORD_PROCESS, sizeof(*record));

	if (!record) {
		__u32 zero = 0;
		__u64 *lost = bpf_map_lookup_elem(&lost_events, &zero);

		if (lost)
			ADD(*lost, 1);
		return;
	}
	record->time_ns = bpf_ktime_get_ns();
	record->event = event;
	record->tgid = tgid;
	record->parent_tgid = parent_tgid;
	record->pad = 0;
	submit_record(record);
}

/* A new thread is a fork too: it has its process's tgid. */
SEC("raw_tp/sched_process_fork")
int process_forked(struct bpf_raw_tracepoint_args *arguments)
{
	struct task_struct *parent = (struct task_struct *)arguments->args[0];
	struct task_struct *child = (struct task_struct *)arguments->args[1];
	__u32 parent_tgid = BPF_CORE_READ(parent, tgid);
	__u32 tgid = BPF_CORE_READ(child, tgid);
	struct target *target;

	if (tgid == parent_tgid)
		return 0;
	target = bpf_map_lookup_elem(&targets, &parent_tgid);
	if (!target || !target->follow_forks)
		return 0;
	bpf_map_update_elem(&targets, &tgid, target, BPF_ANY);
	send_event(PROCESS_FORKED, tgid, parent_tgid);
	return 0;
}

#if ATOMICS
struct bpf_map;

/* Drops what is known of one goroutine of the process in *tgid. */
static long forget_goroutine(struct bpf_map *map, const struct stack_key *key,
			     struct goroutine *goroutine, const __u32 *tgid)
{
	if (key->tgid != *tgid)
		return 0;
	for (__u64 i = 0; i < MAX_OPEN_CALLS && i < goroutine->depth; i++) {
		struct statistics *stats = statistics_of(CALL_SLOT(goroutine, i)->function);

		if (stats)
			count_lost(stats, LOST_UNPAIRED);
	}
	bpf_map_delete_elem(map, key);
	return 0;
}

static long forget_inherited(struct bpf_map *map, const struct stack_key *key,
			     struct inherited *found, const __u32 *tgid)
{
	if (key->tgid == *tgid)
		bpf_map_delete_elem(map, key);
	return 0;
}
#endif

/*
 * The new image may use the same addresses for its goroutines, so the old ones are forgotten
 * before its first instruction. bpf_for_each_map_elem is Linux 5.13 (commit 69c087ba6225).
 */
SEC("raw_tp/sched_process_exec")
int process_executed(struct bpf_raw_tracepoint_args *arguments)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;

	bool is_target = bpf_map_lookup_elem(&targets, &tgid);

	bpf_map_delete_elem(&told, &tgid);

#if ATOMICS
	if (is_target) {
		bpf_for_each_map_elem(&goroutines, forget_goroutine, &tgid, 0);
		bpf_for_each_map_elem(&inheritances, forget_inherited, &tgid, 0);
	}
#endif
	if (settings.every_exec || is_target)
		send_event(PROCESS_EXECUTED, tgid, 0);
	return 0;
}

/*
 * Each thread exits; the process does with the last. The leader may exit long before, or be
 * replaced by another thread that executes.
 */
SEC("raw_tp/sched_process_exit")
int process_exited(struct bpf_raw_tracepoint_args *arguments)
{
	struct task_struct *task = (struct task_struct *)arguments->args[0];
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;

	if (BPF_CORE_READ(task, signal, live.counter) > 0)
		return 0;
	bpf_map_delete_elem(&told, &tgid);
	if (!bpf_map_lookup_elem(&targets, &tgid))
		return 0;
	send_event(PROCESS_EXITED, tgid, 0);
	return 0;
}
