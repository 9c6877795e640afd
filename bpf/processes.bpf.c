// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/* Processes as they fork, execute and exit. */
#define SETTINGS struct process_settings
#include "call_waits.bpf.h"
#include "governed.bpf.h"
#include "own_stacks.bpf.h"
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

struct super_block {
	__u32 s_dev;
} __attribute__((preserve_access_index));

struct inode {
	unsigned long i_ino;
	struct super_block *i_sb;
	__s64 i_ctime_sec;
	__u32 i_ctime_nsec;
} __attribute__((preserve_access_index));

struct timespec64 {
	__s64 tv_sec;
	long tv_nsec;
} __attribute__((preserve_access_index));

/* Before Linux 6.11. */
struct inode___6_6 {
	struct timespec64 __i_ctime;
} __attribute__((preserve_access_index));

/* Before Linux 6.6. */
struct inode___5_10 {
	struct timespec64 i_ctime;
} __attribute__((preserve_access_index));

struct qstr {
	const unsigned char *name;
} __attribute__((preserve_access_index));

struct dentry {
	struct qstr d_name;
} __attribute__((preserve_access_index));

struct path {
	struct dentry *dentry;
} __attribute__((preserve_access_index));

struct file {
	struct path f_path;
	struct inode *f_inode;
} __attribute__((preserve_access_index));

struct mm_struct {
	struct file *exe_file;
} __attribute__((preserve_access_index));

struct task_struct {
	int tgid;
	int exit_code;
	struct signal_struct *signal;
	struct mm_struct *mm;
} __attribute__((preserve_access_index));

/* Until when processes are held at their exec, in ns: user space sets it anew as long as it lives.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} hold_until SEC(".maps");

/* A process whose executable's file name begins like none of these is never held. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_HOLD_NAMES);
	__type(key, __u32);
	__type(value, struct hold_name);
} hold_names SEC(".maps");

/* Executables whose processes are never held: no rule that holds can be meant for them, or their
 * probes are there already. An inode's number is given to a new file once the old one is gone, and
 * overlayfs has no generation for it, so the key has its ctime. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct file_key);
	__type(value, __u32);
} let_pass SEC(".maps");

/* Events that did not fit the ring: user space then looks at /proc itself. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost_events SEC(".maps");

/* By enum process_event: how often the program has run that tells of it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, PROCESS_EXITED + 1);
	__type(key, __u32);
	__type(value, __u64);
} process_runs SEC(".maps");

#define SIGCONT 18
#define SIGSTOP 19
/* What may be a crash: a signal in the low bits, or Go's exit status. */
#define MAY_BE_CRASH(code) (((code)&0x7f) || (code) == 2 << 8)
#define NS_PER_S 1000000000ULL
/* From Linux 6.13 on a bit above says that somebody has asked for it (I_CTIME_QUERIED). */
#define CTIME_NSEC ((1U << 30) - 1)

static __noinline bool begins_like(const __u8 *name, const struct hold_name *wanted)
{
	if (!name || !wanted || !wanted->length)
		return false;
	for (__u64 i = 0; i < MAX_HOLD_NAME; i++) {
		if (i >= wanted->length)
			return true;
		if (name[i] != wanted->prefix[i])
			return false;
	}
	return true;
}

/* Whoever starts a process may see it stop, so only those are held that a rule may be meant for. */
static __always_inline bool may_be_wanted(struct task_struct *task)
{
	const unsigned char *at = BPF_CORE_READ(task, mm, exe_file, f_path.dentry, d_name.name);
	__u8 name[MAX_HOLD_NAME] = {};

	if (bpf_probe_read_kernel_str(name, sizeof(name), at) <= 0)
		return false;
	for (__u32 i = 0; i < MAX_HOLD_NAMES; i++) {
		__u32 index = i;

		if (begins_like(name, bpf_map_lookup_elem(&hold_names, &index)))
			return true;
	}
	return false;
}

static __always_inline __u64 changed_ns(struct inode *inode)
{
	struct inode___6_6 *newer = (void *)inode;
	struct inode___5_10 *older = (void *)inode;

	if (bpf_core_field_exists(inode->i_ctime_sec))
		return BPF_CORE_READ(inode, i_ctime_sec) * NS_PER_S +
		       (BPF_CORE_READ(inode, i_ctime_nsec) & CTIME_NSEC);
	if (bpf_core_field_exists(newer->__i_ctime))
		return BPF_CORE_READ(newer, __i_ctime.tv_sec) * NS_PER_S +
		       BPF_CORE_READ(newer, __i_ctime.tv_nsec);
	return BPF_CORE_READ(older, i_ctime.tv_sec) * NS_PER_S +
	       BPF_CORE_READ(older, i_ctime.tv_nsec);
}

/* Whether the process that has just executed this file is to wait until user space knows it. */
static __always_inline bool is_to_wait(struct task_struct *task, const struct file_key *file)
{
	__u32 zero = 0;
	__u64 *until = bpf_map_lookup_elem(&hold_until, &zero);

	return until && *until > bpf_ktime_get_ns() && !bpf_map_lookup_elem(&let_pass, file) &&
	       may_be_wanted(task);
}

static __always_inline void count_run(__u32 event)
{
	__u64 *runs = bpf_map_lookup_elem(&process_runs, &event);

	if (runs)
		ADD(*runs, 1);
}

static __always_inline void send_event(void *context, __u32 event, __u32 tgid, __u32 parent_tgid,
				       __u16 exit_code, const struct file_key *file,
				       struct task_struct *may_wait)
{
	struct process_record record = {
		.header = { .kind = RECORD_PROCESS, .size = sizeof(record) },
		.time_ns = bpf_ktime_get_ns(),
		.event = event,
		.tgid = tgid,
		.parent_tgid = parent_tgid,
		.exit_code = exit_code,
	};
	__u32 zero = 0;
	__u64 *lost;

	if (file)
		record.file = *file;
	record.held = may_wait && is_to_wait(may_wait, file) && bpf_send_signal(SIGSTOP) == 0;
	if (output_record(context, &record, sizeof(record)))
		return;
	/* Only what user space is told of, since it lets it go on: this signal takes that one back.
	 */
	if (record.held)
		bpf_send_signal(SIGCONT);
	lost = bpf_map_lookup_elem(&lost_events, &zero);
	if (lost)
		ADD(*lost, 1);
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
	__u32 *verdict;

	count_run(PROCESS_FORKED);
	if (tgid == parent_tgid)
		return 0;
	target = bpf_map_lookup_elem(&targets, &parent_tgid);
	if (!target || !target->follow_forks)
		return 0;
	bpf_map_update_elem(&targets, &tgid, target, BPF_ANY);
	verdict = bpf_map_lookup_elem(&trampolines, &parent_tgid);
	if (verdict)
		bpf_map_update_elem(&trampolines, &tgid, verdict, BPF_ANY);
	send_event(arguments, PROCESS_FORKED, tgid, parent_tgid, 0, NULL, NULL);
	return 0;
}

#if ATOMICS
struct bpf_map;

/* What is open on a stack will never return. */
INLINE void lose_calls(const struct stack *stack)
{
	for (__u64 i = 0; i < MAX_OPEN_CALLS && i < stack->depth; i++) {
		struct statistics *stats = statistics_of(CALL_SLOT(stack, i)->function);

		if (stats)
			count_lost(stats, LOST_UNPAIRED);
	}
}

/* Drops what is known of one stack of the process in *tgid. */
static long forget_stack(struct bpf_map *map, const struct stack_key *key, struct stack *stack,
			 const __u32 *tgid)
{
	if (key->tgid != *tgid)
		return 0;
	lose_calls(stack);
	bpf_map_delete_elem(map, key);
	return 0;
}

static long forget_own_stack(struct bpf_map *map, const __u32 *index, struct own_stack *own,
			     const __u32 *tgid)
{
	if (own->key && own->tgid == *tgid) {
		lose_calls(&own->stack);
		give_up(own);
	}
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
 * The new image may use the same addresses for its stacks, so the old ones are forgotten
 * before its first instruction. bpf_for_each_map_elem is Linux 5.13 (commit 69c087ba6225).
 */
SEC("raw_tp/sched_process_exec")
int process_executed(struct bpf_raw_tracepoint_args *arguments)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;

	bool is_target = bpf_map_lookup_elem(&targets, &tgid);

	count_run(PROCESS_EXECUTED);
	bpf_map_delete_elem(&told, &tgid);
	bpf_map_delete_elem(&trampolines, &tgid);

#if ATOMICS
	if (is_target) {
		bpf_for_each_map_elem(&stacks, forget_stack, &tgid, 0);
		bpf_for_each_map_elem(&own_stacks, forget_own_stack, &tgid, 0);
		bpf_for_each_map_elem(&inheritances, forget_inherited, &tgid, 0);
	}
#endif
	if (settings.every_exec || is_target) {
		struct task_struct *task = (struct task_struct *)arguments->args[0];
		struct inode *inode = BPF_CORE_READ(task, mm, exe_file, f_inode);
		struct file_key file = {
			.device = BPF_CORE_READ(inode, i_sb, s_dev),
			.inode = BPF_CORE_READ(inode, i_ino),
			.changed_ns = changed_ns(inode),
		};

		send_event(arguments, PROCESS_EXECUTED, tgid, 0, 0, &file,
			   settings.every_exec ? task : NULL);
	}
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
	__u16 code;

	count_run(PROCESS_EXITED);
	if (BPF_CORE_READ(task, signal, live.counter) > 0)
		return 0;
	bpf_map_delete_elem(&told, &tgid);
	bpf_map_delete_elem(&trampolines, &tgid);
	/* Of the last thread; whatever ends the process ends them all by the same code. */
	code = BPF_CORE_READ(task, exit_code);
	/* Where probes wait for whoever comes, one may die of them before it is a target. */
	if (!bpf_map_lookup_elem(&targets, &tgid) && !(settings.every_exec && MAY_BE_CRASH(code)))
		return 0;
	send_event(arguments, PROCESS_EXITED, tgid, 0, code, NULL, NULL);
	return 0;
}
