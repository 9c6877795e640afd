// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/*
 * Go: entry and return of functions, and what the runtime and the SDK must be watched for so that
 * calls are paired and placed right. Attached to instructions that the disassembler confirmed.
 */
#include "common.bpf.h"

const volatile struct settings settings = {};

#define ARGUMENT go_argument
#define CONTEXT struct bpf_user_pt_regs_t
#include "inherited.bpf.h"
#include "panics.bpf.h"
#include "calls.bpf.h"
#include "go_http.bpf.h"
#include "allocations.bpf.h"
#include "collector.bpf.h"
#include "replaced.bpf.h"
#include "sites.bpf.h"

/* Calls that cannot be running: why they ended is not known. */
INLINE void end_deeper(struct stack *stack, struct hit *hit, __u64 offset)
{
	if (stack->depth && CALL_SLOT(stack, stack->depth - 1)->offset > offset)
		drop_deeper(stack, offset);
}

#include "returns.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* struct gobuf, the same in every version that is traced. */
#define GOBUF_SP 0
#define GOBUF_G 16

SEC("uprobe")
int enter(struct pt_regs *regs)
{
	struct stack_key key = { .stack = GO_G(regs) };
	struct hit hit = { .context = regs, .now = bpf_ktime_get_ns(), .stack = key.stack };
	struct context context = {};
	enum stack_result result;
	struct function_values *wanted;
	struct stack *goroutine;
	struct statistics *stats;
	struct open_call *call;
	struct site *site;
	__u64 bias;

	STAY_ON_THREAD_STACK();
	site = find_site(regs, &key.tgid, &bias);
	if (!site)
		return 0;
	stats = statistics_of(site->function);
	if (!stats || (site->flags & SITE_FLAG_CLOSED))
		return 0;
	hit.governed = governed_bits(site->function);
	if (is_seen(regs, site->function, hit.governed))
		return 0;
	if (settings.entry_only) {
		count_call(stats);
		count_lost(stats, LOST_ENTRY_ONLY);
		return 0;
	}
	if (hit.governed & GOVERNED_COUNTED) {
		count_call(stats);
		count_lost(stats, LOST_GOVERNOR);
		return 0;
	}
	goroutine = need_goroutine(&key, STACK_POINTER(regs), &result);
	if (!goroutine) {
		count_call(stats);
		count_lost(stats, result == STACK_TABLE_FULL ? LOST_TABLE_FULL : LOST_UNREADABLE);
		return 0;
	}
	hit.tgid = key.tgid;
	hit.function = site->function;
	hit.bias = bias;
	hit.may_repeat = site->condition == CONDITION_MAY_REPEAT;
	context.source = explicit_context(regs, site, bias, &context);
	if (context.source == SOURCE_NONE)
		context.source = current_span(goroutine, key.tgid, &context);
	tell_tracer(regs, context.tracer_at, key.tgid);
	if (context.source == SOURCE_UNREADABLE)
		ADD(stats->contexts_unreadable, 1);
	if (context.truncated)
		ADD(stats->contexts_truncated, 1);
	call = enter_call(goroutine, &hit, goroutine->stack_hi - STACK_POINTER(regs), &context,
			  stats);
	wanted = values_of(site->function);
	if (call && wanted && wanted->http_handler)
		call->http_method = request_method(regs, site);
	if (call && wanted && !call->dropped)
		call->has_values = read_arguments(regs, STACK_POINTER(regs), wanted,
						  load8(call->span_id), bias);
	return 0;
}

SEC("uprobe")
int leave(struct pt_regs *regs)
{
	struct stack_key key = { .stack = GO_G(regs) };
	struct hit hit = { .context = regs, .now = bpf_ktime_get_ns(), .stack = key.stack };
	struct function_values *wanted;
	struct stack *goroutine;
	struct open_call *call;
	struct site *site;
	__u64 stack_pointer, offset, error[2];

	STAY_ON_THREAD_STACK();
	site = find_site(regs, &key.tgid, &hit.bias);
	if (!site)
		return 0;
	hit.tgid = key.tgid;
	hit.function = site->function;
	goroutine = bpf_map_lookup_elem(&stacks, &key);
	if (goroutine && !goroutine->stack_hi)
		goroutine->stack_hi = read_stack_hi(key.stack, STACK_POINTER(regs));
	if (goroutine && goroutine->stack_hi) {
		stack_pointer =
			stack_pointer_at_return(regs, site, goroutine, goroutine->stack_hi, &hit);
		offset = goroutine->stack_hi - stack_pointer;
		wanted = values_of(site->function);
		call = wanted ? call_to_leave(goroutine, &hit, offset) : NULL;
		if (call) {
			hit.failed = returned_error(regs, wanted, stack_pointer, error);
			if (!call->dropped && read_results(regs, wanted, load8(call->span_id),
							   hit.bias, stack_pointer, error))
				call->has_values = 1;
		}
		if (leave_call(goroutine, &hit, offset))
			carry_out_return(regs, site, &hit);
		return 0;
	}
	count_unpaired(site->function);
	return 0;
}

/* gopanic(any): what it is called with belongs to the calls that it will unwind. */
INLINE void panicked(struct pt_regs *regs, struct stack_key *key, __u64 bias)
{
	struct stack *goroutine = bpf_map_lookup_elem(&stacks, key);
	struct open_panic *panic;
	__u64 offset;

	if (!goroutine || !goroutine->depth)
		return;
	if (!goroutine->stack_hi)
		goroutine->stack_hi = read_stack_hi(key->stack, STACK_POINTER(regs));
	offset = goroutine->stack_hi - STACK_POINTER(regs);
	forget_panics(goroutine, offset - 1);
	panic = PANIC_SLOT(goroutine, goroutine->panic_count);
	panic->offset = offset;
	panic->type = go_argument(regs, 0) - bias;
	panic->data = go_argument(regs, 1);
	goroutine->panic_count++;
}

/* gogo(&gobuf) in runtime.recovery: the goroutine goes on at gobuf.sp, what lay below is over. */
INLINE void recovered(struct pt_regs *regs, struct hit *hit)
{
	struct stack_key key = { .tgid = hit->tgid };
	struct stack *goroutine;
	__u64 gobuf, stack_pointer;

	if (read_user(&gobuf, sizeof(gobuf), STACK_POINTER(regs)) ||
	    read_user(&stack_pointer, sizeof(stack_pointer), gobuf + GOBUF_SP) ||
	    read_user(&key.stack, sizeof(key.stack), gobuf + GOBUF_G))
		return;
	goroutine = bpf_map_lookup_elem(&stacks, &key);
	if (!goroutine || !goroutine->depth)
		return;
	if (!goroutine->stack_hi)
		goroutine->stack_hi = read_stack_hi(key.stack, stack_pointer);
	if (!goroutine->stack_hi)
		return;
	hit->stack = key.stack;
	unwind_calls(hit, goroutine->stack_hi - stack_pointer, END_PANICKED);
	forget_panics(goroutine, goroutine->stack_hi - stack_pointer);
}

/* Nothing runs on this goroutine any more. */
INLINE void goroutine_ends(struct stack_key *key, struct hit *hit, __u8 end)
{
	struct stack *goroutine = bpf_map_lookup_elem(&stacks, key);

	if (!goroutine)
		return;
	unwind_calls(hit, 0, end);
	bpf_map_delete_elem(&stacks, key);
}

/* Who runs on the thread whose system stack g0 is, and its innermost open call. */
INLINE void find_waker(__u64 g0, __u32 tgid, struct waker *waker)
{
	struct stack_key key = { .tgid = tgid };
	struct stack *goroutine;

	if (!current_goroutine(g0, &key.stack) || !key.stack ||
	    read_user(&waker->goroutine_id, sizeof(waker->goroutine_id),
		      key.stack + settings.goid_offset))
		return;
	goroutine = bpf_map_lookup_elem(&stacks, &key);
	if (goroutine && goroutine->depth)
		name_waker(waker, CALL_SLOT(goroutine, goroutine->depth - 1));
}

/* Whose gobuf is the argument of gogo. */
INLINE bool switched_to(struct pt_regs *regs, __u64 *g)
{
	__u64 gobuf;

	return !read_user(&gobuf, sizeof(gobuf), STACK_POINTER(regs)) &&
	       !read_user(g, sizeof(*g), gobuf + GOBUF_G);
}

/*
 * Go's scheduler: which goroutine begins to wait, may go on, and does. Only of those that have a
 * traced call open is anything noted.
 */
INLINE void schedule(struct pt_regs *regs, struct site *site, struct stack_key *key, __u64 now)
{
	__u64 own = key->stack;
	struct stack *goroutine;
	__u32 reason;

	if (site->kind == SITE_SWITCH) {
		if (!switched_to(regs, &key->stack))
			return;
	} else if (site->kind != SITE_PARK) {
		key->stack = go_argument(regs, 0);
	}
	goroutine = bpf_map_lookup_elem(&stacks, key);
	if (!goroutine || !goroutine->depth)
		return;
	switch (site->kind) {
	case SITE_PARK:
		reason = go_argument(regs, 2) & (MAX_WAIT_REASONS - 1);
		begin_wait(goroutine, now, settings.wait_kinds[reason]);
		break;
	case SITE_YIELD:
		begin_wait(goroutine, now, WAIT_RUNNABLE);
		goroutine->wait.ready_ns = now;
		break;
	case SITE_STOP:
		begin_wait(goroutine, now, WAIT_OTHER);
		break;
	case SITE_READY:
		if (!goroutine->wait.start_ns || goroutine->wait.ready_ns)
			break;
		goroutine->wait.ready_ns = now;
		find_waker(own, key->tgid, &goroutine->wait.waker);
		break;
	case SITE_SWITCH:
	case SITE_RUN:
		end_wait(regs, goroutine, now);
		break;
	}
}

INLINE void assist(struct stack_key *key, __u8 kind, __u64 now)
{
	struct stack *goroutine = bpf_map_lookup_elem(&stacks, key);

	if (!goroutine || !goroutine->depth)
		return;
	if (kind == SITE_ASSIST)
		begin_assist(goroutine, now);
	else if (goroutine->assist_ns)
		end_assist(goroutine, now);
}

/* With a frame of its own: that of support() is nearly full. */
OUT_OF_LINE void watch_runtime(struct pt_regs *regs, struct site *site, struct stack_key *key,
			       __u64 now)
{
	if (!site || !key)
		return;
	switch (site->kind) {
	case SITE_PARK:
	case SITE_STOP:
	case SITE_SWITCH:
	case SITE_READY:
	case SITE_YIELD:
	case SITE_RUN:
		count_watch();
		if (settings.waits)
			schedule(regs, site, key, now);
		break;
	case SITE_ASSIST:
	case SITE_ASSIST_END:
		count_watch();
		if (settings.waits)
			assist(key, site->kind, now);
		break;
	case SITE_GC_STOP:
	case SITE_GC_START:
	case SITE_GC_LIVE:
	case SITE_GC_GOAL:
	case SITE_GC_END:
		if (settings.gc)
			collect(regs, site, key->tgid, now);
		break;
	case SITE_REFILL:
	case SITE_SAMPLE_RATE:
	case SITE_SAMPLE:
		count_watch();
		if (settings.allocations)
			allocate(regs, site, key);
		break;
	}
}

/* Runtime and SDK. */
SEC("uprobe")
int support(struct pt_regs *regs)
{
	struct stack_key key = { .stack = GO_G(regs) };
	struct hit hit = { .context = regs, .now = bpf_ktime_get_ns(), .stack = key.stack };
	struct stack *goroutine;
	struct learned *known;
	struct site *site;
	__u64 bias, type;

	STAY_ON_THREAD_STACK();
	site = find_site(regs, &key.tgid, &bias);
	if (!site)
		return 0;
	count_support();
	hit.tgid = key.tgid;
	switch (site->kind) {
	case SITE_COPYSTACK:
		key.stack = go_argument(regs, 0);
		goroutine = bpf_map_lookup_elem(&stacks, &key);
		if (goroutine)
			goroutine->stack_hi = 0;
		break;
	case SITE_COROUTINE_END:
	case SITE_GOEXIT:
	case SITE_FATAL:
		if (site->kind == SITE_COROUTINE_END)
			key.stack = hit.stack = go_argument(regs, 0);
		goroutine_ends(&key, &hit, site->kind == SITE_FATAL ? END_PANICKED : END_EXITED);
		break;
	case SITE_RECOVERY:
		recovered(regs, &hit);
		break;
	case SITE_PANIC:
		panicked(regs, &key, bias);
		break;
	case SITE_GO_STATEMENT:
		goroutine_started(key.stack, go_argument(regs, 1), key.tgid);
		break;
	case SITE_SPAN_START:
		known = learned_types();
		if (known && !settings.key_type)
			known->key_type = go_argument(regs, 2) - bias;
		span_started(regs, key.tgid, go_argument(regs, 4) - bias, go_argument(regs, 5));
		break;
	case SITE_SPAN_STARTED:
		/* The span is an interface here: its itab's second word is the type. */
		if (!read_user(&type, sizeof(type), go_argument(regs, 2) + 8))
			span_started(regs, key.tgid, type - bias, go_argument(regs, 3));
		break;
	case SITE_HTTP_STATUS:
		set_http_status(bpf_map_lookup_elem(&stacks, &key), go_argument(regs, 1));
		break;
	case SITE_SPAN_END:
		span_ended(regs, key.tgid, go_argument(regs, 0), site->context_at);
		break;
	default:
		if (settings.waits || settings.gc || settings.allocations)
			watch_runtime(regs, site, &key, hit.now);
	}
	return 0;
}
