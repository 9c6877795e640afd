// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/*
 * C, C++, Rust and what else runs on threads: entry and return of functions, and what must be
 * watched for so that calls are paired and placed right.
 */
#include "common.bpf.h"

const volatile struct settings settings = {};

#include "context.bpf.h"
#include "open_calls.bpf.h"

/* As the stack has seen it. */
INLINE __u64 context_start(const struct context *context, __u32 tgid)
{
	return context->start_ns;
}

/* What an exception carries is not read. */
INLINE void note_panic(struct stack *stack, struct open_call *call) {}

/* A thread inherits no context. */
INLINE void inherit(struct stack *stack, __u64 key, __u32 tgid, struct context *context) {}

#define ARGUMENT native_argument
#include "calls.bpf.h"
#include "sites.bpf.h"
#include "thread_context.bpf.h"
#include "threads.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Ends the calls that cannot be running, since something runs as far out as `offset`. */
INLINE void end_unwound(struct stack *stack, struct hit *hit, __u64 offset)
{
	__u32 depth = stack->depth;

	if (depth && CALL_SLOT(stack, depth - 1)->offset > offset)
		unwind_calls(hit, offset, END_UNWOUND);
}

SEC("uprobe")
int enter(struct pt_regs *regs)
{
	struct hit hit = { .now = bpf_ktime_get_ns() };
	struct stack_key key = {};
	struct context context = {};
	struct function_values *wanted;
	struct thread_stack *on;
	struct statistics *stats;
	struct open_call *call;
	struct target *target;
	struct stack *stack;
	struct site *site;
	__u64 bias, slot;

	STAY_ON_THREAD_STACK();
	site = find_site(regs, &key.tgid, &bias);
	if (!site)
		return 0;
	stats = statistics_of(site->function);
	if (!stats)
		return 0;
	if (settings.entry_only || (site->flags & SITE_FLAG_ENTRY_ONLY)) {
		ADD(stats->calls, 1);
		count_lost(stats, LOST_ENTRY_ONLY);
		return 0;
	}
	slot = STACK_POINTER(regs) + site->stack_adjustment;
	on = thread_stack_at(slot);
	if (on) {
		key.stack = on->stack;
		stack = bpf_map_lookup_elem(&stacks, &key) ?: add_stack(&key);
	}
	if (!on || !stack) {
		ADD(stats->calls, 1);
		count_lost(stats, LOST_TABLE_FULL);
		return 0;
	}
	hit.stack = key.stack;
	hit.tgid = key.tgid;
	hit.function = site->function;
	end_unwound(stack, &hit, on->high - slot - 1);
	target = bpf_map_lookup_elem(&targets, &key.tgid);
	if (target)
		context.source = thread_context(&target->thread_context, &context);
	date_context(stack, &context, hit.now);
	if (context.source == SOURCE_UNREADABLE)
		ADD(stats->contexts_unreadable, 1);
	call = enter_call(stack, &hit, on->high - slot, &context, stats);
	wanted = values_of(site->function);
	if (call && wanted && !call->dropped)
		call->has_values = read_arguments(regs, wanted, load8(call->span_id), bias);
	return 0;
}

SEC("uprobe")
int leave(struct pt_regs *regs)
{
	struct hit hit = { .now = bpf_ktime_get_ns() };
	struct stack_key key = {};
	struct function_values *wanted;
	struct thread_stack *on;
	struct statistics *stats;
	struct open_call *call;
	struct stack *stack;
	struct site *site;
	__u64 bias, offset, slot, error[2];

	STAY_ON_THREAD_STACK();
	site = find_site(regs, &key.tgid, &bias);
	if (!site)
		return 0;
	slot = STACK_POINTER(regs) + site->stack_adjustment;
	on = thread_stack_at(slot);
	key.stack = on ? on->stack : 0;
	stack = bpf_map_lookup_elem(&stacks, &key);
	if (!on || !stack) {
		stats = statistics_of(site->function);
		if (stats)
			ADD(stats->unpaired_returns, 1);
		return 0;
	}
	hit.stack = key.stack;
	hit.tgid = key.tgid;
	hit.function = site->function;
	offset = on->high - slot;
	end_unwound(stack, &hit, offset);
	wanted = values_of(site->function);
	call = wanted ? call_to_leave(stack, &hit, offset) : NULL;
	if (call) {
		hit.failed = returned_error(regs, wanted, error);
		if (!call->dropped &&
		    read_results(regs, wanted, load8(call->span_id), bias, error))
			call->has_values = 1;
	}
	leave_call(stack, &hit, offset);
	return 0;
}

/* What the C library and the language's runtime do with stacks. */
SEC("uprobe")
int support(struct pt_regs *regs)
{
	struct hit hit = { .now = bpf_ktime_get_ns() };
	struct stack_key key = {};
	struct thread_stack *on;
	struct stack *stack;
	struct site *site;
	__u64 bias;

	STAY_ON_THREAD_STACK();
	site = find_site(regs, &key.tgid, &bias);
	if (!site)
		return 0;
	switch (site->kind) {
	case SITE_SWITCH_STACK:
		stack_switched(ARGUMENT(regs, site->context_at));
		break;
	case SITE_CATCH:
		on = thread_stack_at(STACK_POINTER(regs));
		key.stack = on ? on->stack : 0;
		stack = bpf_map_lookup_elem(&stacks, &key);
		if (!on || !stack)
			break;
		hit.stack = key.stack;
		hit.tgid = key.tgid;
		end_unwound(stack, &hit, on->high - STACK_POINTER(regs) - 1);
		break;
	case SITE_LIBRARIES:
		send_mapped(key.tgid, hit.now);
		break;
	}
	return 0;
}

/* What is open on the stack of a thread that exits will not return. */
SEC("raw_tp/sched_process_exit")
int thread_exited(struct bpf_raw_tracepoint_args *arguments)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct thread_stack *on = bpf_map_lookup_elem(&thread_stacks, &thread);
	struct stack_key key = { .tgid = thread >> 32 };
	struct hit hit = { .now = bpf_ktime_get_ns(), .tgid = thread >> 32 };

	if (!on)
		return 0;
	key.stack = on->stack;
	hit.stack = key.stack;
	bpf_map_delete_elem(&thread_stacks, &thread);
	if (!bpf_map_lookup_elem(&stacks, &key))
		return 0;
	unwind_calls(&hit, 0, END_EXITED);
	bpf_map_delete_elem(&stacks, &key);
	return 0;
}
