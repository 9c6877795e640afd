// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/*
 * What threads wait for that have a traced call open, as the kernel's scheduler sees it. These
 * programs run at every switch and every wake-up of the whole host: most of all they must find out
 * soon that one is no target's. Their arguments are typed, so that a field costs one load.
 */
#include "common.bpf.h"

const volatile struct settings settings = {};

#define CONTEXT __u64
#include "waits.bpf.h"
#include "kernel_stacks.bpf.h"
#include "tasks.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Of threads that wait and are not charged for it by Go's scheduler: on which stack, by pid.
 * Whoever is in it must run before it can exit, and is taken out then. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct stack_key);
} waiting SEC(".maps");

/* How many of them have a pid with these low bits: mostly none, which is soon seen. */
#define WAITING_GROUPS 16384
__u32 waiting_in[WAITING_GROUPS] = {};
#define WAITING_LIKE(pid) waiting_in[slot_index(pid, WAITING_GROUPS)]

/* By enum schedule_event: hits of threads that are targets'. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SCHEDULE_EVENTS);
	__type(key, __u32);
	__type(value, __u64);
} schedule_hits SEC(".maps");

INLINE void count_hit(__u32 event)
{
	__u64 *hits = bpf_map_lookup_elem(&schedule_hits, &event);

	if (hits)
		ADD(*hits, 1);
}

/* The stack that the running thread is on, if it is a target's and anything is known of it. */
INLINE struct stack *running_on(struct kernel_hit *at, struct stack_key *key)
{
	__u32 tgid = at->thread >> 32;
	struct stack *stack = NULL;
	struct task_struct *task;

	at->target = bpf_map_lookup_elem(&targets, &tgid);
	if (!at->target)
		return NULL;
	at->task = task = (struct task_struct *)bpf_get_current_task();
	at->top = (__u64)BPF_CORE_READ(task, stack) + kernel_stack_size();
	key->tgid = tgid;
	if (find_caller(at, key, &stack) == STACK_FOUND)
		return stack;
	/* What the kernel does for it may be traced alone. */
	task_key(at, key);
	return find_stack(key);
}

/* The innermost open call, if it is of use to know what it waits for. */
INLINE struct open_call *watched_call(struct stack *stack)
{
	struct open_call *call;

	if (!stack || !stack->depth)
		return NULL;
	call = CALL_SLOT(stack, stack->depth - 1);
	return call->watched & WATCHED_WAITS ? call : NULL;
}

/* Why a thread stops to run that could go on. */
INLINE __u32 runnable_kind(const struct task_struct___schedule *task)
{
	return is_throttled(task) ? WAIT_THROTTLED : WAIT_RUNNABLE;
}

INLINE void thread_stops(struct kernel_hit *at, const struct task_struct___schedule *task,
			 bool preempted)
{
	struct stack_key key = {};
	struct stack *stack = running_on(at, &key);
	__u32 pid = at->thread, kind;
	__u64 now, state;

	/* A goroutine that is about to wait runs on until its thread has another one. */
	if (!watched_call(stack) || stack->wait.start_ns)
		return;
	count_hit(SCHEDULE_SWITCHED);
	state = task_state(task);
	if (state & TASK_DEAD)
		return;
	now = bpf_ktime_get_ns();
	kind = preempted || !state ? runnable_kind(task) : blocked_kind(at, task, state);
	if (bpf_map_update_elem(&waiting, &pid, &key, BPF_NOEXIST))
		return;
	ADD(WAITING_LIKE(pid), 1);
	begin_wait(stack, now, kind);
	if (kind == WAIT_RUNNABLE)
		stack->wait.ready_ns = now;
}

INLINE void thread_goes_on(void *context, __u32 pid)
{
	struct stack_key *known = bpf_map_lookup_elem(&waiting, &pid);
	struct stack_key key;
	struct stack *stack;

	if (!known)
		return;
	key = *known;
	bpf_map_delete_elem(&waiting, &pid);
	ADD(WAITING_LIKE(pid), -1);
	stack = find_stack(&key);
	if (stack)
		end_wait(context, stack, bpf_ktime_get_ns());
}

SEC("tp_btf/sched_switch")
int thread_switched(__u64 *arguments)
{
	const struct task_struct___schedule *next = (const void *)arguments[2];
	struct kernel_hit at = { .program = arguments, .thread = bpf_get_current_pid_tgid() };

	if (WAITING_LIKE(next->pid))
		thread_goes_on(arguments, next->pid);
	/* Idle threads have pid 0. */
	if (at.thread)
		thread_stops(&at, (const void *)arguments[1], arguments[0]);
	return 0;
}

/*
 * What runs is a system call, and no interrupt: those are on stacks of their own, but for one that
 * finds the thread in user space. (What counts them has no address in kernels that keep those of
 * functions only.)
 */
INLINE bool in_system_call(const struct kernel_hit *at)
{
	struct pt_regs *user = user_registers(at);
	__u64 number;

	return at->slot < at->top && at->top - at->slot <= kernel_stack_size() &&
	       !bpf_probe_read_kernel(&number, sizeof(number), &user->orig_rax) &&
	       (__s64)number >= 0;
}

/* Whoever wakes a thread that waits for a lock has held it. */
INLINE void note_waker(void *arguments, struct waker *waker)
{
	struct kernel_hit at = { .program = arguments,
				 .thread = bpf_get_current_pid_tgid(),
				 .slot = place_of(arguments) };
	struct stack_key key = {};
	struct stack *stack;

	stack = running_on(&at, &key);
	if (!at.target || !in_system_call(&at))
		return;
	waker->tid = at.thread;
	if (!stack)
		return;
	waker->goroutine_id = stack->id;
	if (stack->depth)
		name_waker(waker, CALL_SLOT(stack, stack->depth - 1));
}

/* Not sched_wakeup, which may come later and on another CPU, from an interrupt. */
SEC("tp_btf/sched_waking")
int thread_woken(__u64 *arguments)
{
	const struct task_struct___schedule *woken = (const void *)arguments[0];
	__u32 pid = woken->pid;
	struct stack_key *key;
	struct stack *stack;

	if (!WAITING_LIKE(pid))
		return 0;
	key = bpf_map_lookup_elem(&waiting, &pid);
	if (!key)
		return 0;
	stack = find_stack(key);
	if (!stack || !stack->wait.start_ns || stack->wait.ready_ns)
		return 0;
	count_hit(SCHEDULE_WOKEN);
	stack->wait.ready_kind = runnable_kind(woken);
	stack->wait.ready_ns = bpf_ktime_get_ns();
	note_waker(arguments, &stack->wait.waker);
	return 0;
}
