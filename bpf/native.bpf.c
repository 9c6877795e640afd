// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/*
 * C, C++, Rust and what else runs on threads: entry and return of functions, and what must be
 * watched for so that calls are paired and placed right.
 */
#include "common.bpf.h"

const volatile struct settings settings = {};

#define CONTEXT struct bpf_user_pt_regs_t
/* No handlers are known here, and Linux 6.1 would not take the depth of its stack. */
#define COUNTS_REQUESTS 0
#include "threads.bpf.h"
#include "calls.bpf.h"
#include "long_jumps.bpf.h"
#include "replaced.bpf.h"
#include "sites.bpf.h"
#include "thread_context.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Ends the calls that cannot be running, since something runs as far out as `offset`. */
INLINE void end_deeper(struct stack *stack, struct hit *hit, __u64 offset)
{
	__u32 depth = stack->depth;

	if (depth && CALL_SLOT(stack, depth - 1)->offset > offset)
		unwind_calls(hit, offset, END_UNWOUND);
}

#include "returns.bpf.h"
#include "trampolines.bpf.h"

/*
 * The site of a hit that counts, else NULL. That its process is a target is kept with the thread's
 * own stack, which is needed in any case, until some process has been taken from the targets.
 */
INLINE struct site *find_native_site(struct pt_regs *regs, struct place *at, struct hit *hit,
				     struct target **target)
{
	__u32 zero = 0;
	struct target_facts *facts = bpf_map_lookup_elem(&target_facts, &zero);
	struct stack *own;
	struct site *site;
	__u32 removals;
	bool counts;

	begin_place(at);
	if (!facts)
		return NULL;
	hit->tgid = at->thread >> 32;
	at->publishers = facts->publishers;
	/* Before the target is looked up. */
	removals = *(volatile __u32 *)&facts->removals;
	own = at->stack;
	counts = own && own->attachment == settings.attachment && own->removals == removals;
	site = find_site_at(regs, INSTRUCTION_POINTER(regs), counts, hit->tgid, target);
	if (site && own && !counts) {
		own->attachment = settings.attachment;
		own->removals = removals;
		own->bias = 0;
	}
	return site;
}

/* A traced function begins whose return address lies at `slot`. NULL: the call is not kept. */
INLINE struct open_call *begin_call(struct pt_regs *regs, const struct site *site, struct hit *hit,
				    struct place *at, __u64 slot, struct statistics *stats,
				    struct target *target)
{
	struct stack_key key = { .stack = at->key, .tgid = hit->tgid };
	struct context context = {};
	struct function_values *wanted;
	struct open_call *call;
	__u64 offset = at->end - slot;

	if (!at->stack)
		at->stack = add_native_stack(&key);
	if (!at->stack) {
		count_call(stats);
		count_lost(stats, LOST_TABLE_FULL);
		return NULL;
	}
	hit->stack = at->key;
	hit->function = site->function;
	if (settings.has_sessions) {
		end_deeper(at->stack, hit, offset);
		end_tail_caller(at->stack, hit, offset, slot);
	}
	end_deeper(at->stack, hit, offset - 1);
	if (at->publishers) {
		if (!target)
			target = bpf_map_lookup_elem(&targets, &key.tgid);
		if (target)
			context.source = thread_context(&target->thread_context, &context);
	}
	date_context(at->stack, &context, hit->now);
	if (context.source == SOURCE_UNREADABLE)
		ADD(stats->contexts_unreadable, 1);
	call = enter_call(at->stack, hit, offset, &context, stats);
	wanted = values_of(site->function);
	if (call && wanted && !call->dropped)
		call->has_values =
			read_arguments(regs, slot, wanted, load8(call->span_id), hit->bias);
	return call;
}

SEC("uprobe")
int enter(struct pt_regs *regs)
{
	struct hit hit = { .context = regs, .now = bpf_ktime_get_ns() };
	struct target *target = NULL;
	struct statistics *stats;
	struct place at = {};
	struct site *site;
	__u64 slot;

	STAY_ON_THREAD_STACK();
	site = find_native_site(regs, &at, &hit, &target);
	if (!site)
		return 0;
	hit.bias = bias_at(site, INSTRUCTION_POINTER(regs));
	sample_hit(hit.tgid, site->function);
	stats = statistics_of(site->function);
	if (!stats || (site->flags & SITE_FLAG_CLOSED))
		return 0;
	hit.governed = governed_bits(site->function);
	if (is_seen(regs, site->function, hit.governed))
		return 0;
	if (settings.entry_only || (site->flags & SITE_FLAG_ENTRY_ONLY)) {
		count_call(stats);
		count_lost(stats, LOST_ENTRY_ONLY);
		return 0;
	}
	if (hit.governed & GOVERNED_COUNTED) {
		count_call(stats);
		count_lost(stats, LOST_GOVERNOR);
		return 0;
	}
	slot = STACK_POINTER(regs) + site->stack_adjustment;
	if (!find_place(slot, &at)) {
		count_call(stats);
		count_lost(stats, LOST_UNREADABLE);
		return 0;
	}
	if (begin_call(regs, site, &hit, &at, slot, stats, target) && site->kind == SITE_BOTH) {
		hit.now = bpf_ktime_get_ns();
		leave_call(at.stack, &hit, at.end - slot);
	}
	return 0;
}

SEC("uprobe")
int leave(struct pt_regs *regs)
{
	struct hit hit = { .context = regs, .now = bpf_ktime_get_ns() };
	struct function_values *wanted;
	struct target *target = NULL;
	struct open_call *call;
	struct place at = {};
	struct site *site;
	__u64 offset, stack_pointer, error[2];

	STAY_ON_THREAD_STACK();
	site = find_native_site(regs, &at, &hit, &target);
	if (!site)
		return 0;
	hit.bias = bias_at(site, INSTRUCTION_POINTER(regs));
	if (!find_place(STACK_POINTER(regs), &at) || !at.stack) {
		count_unpaired(site->function);
		return 0;
	}
	/* Or the compiler keeps the address of a register, which the verifier takes no more. */
	asm volatile("" : "+r"(regs));
	hit.stack = at.key;
	hit.function = site->function;
	stack_pointer = stack_pointer_at_return(regs, site, at.stack, at.end, &hit);
	offset = at.end - stack_pointer;
	end_deeper(at.stack, &hit, offset);
	wanted = values_of(site->function);
	call = wanted ? call_to_leave(at.stack, &hit, offset) : NULL;
	if (call) {
		hit.failed = returned_error(regs, wanted, stack_pointer, error);
		if (!call->dropped && read_results(regs, wanted, load8(call->span_id), hit.bias,
						   stack_pointer, error))
			call->has_values = 1;
	}
	if (leave_call(at.stack, &hit, offset))
		carry_out_return(regs, site, &hit);
	return 0;
}

/* Its return comes back to the same program. */
INLINE int enter_around(struct pt_regs *regs, struct site *site, struct place *at, struct hit *hit,
			struct target *target)
{
	__u64 slot = STACK_POINTER(regs);
	struct statistics *stats = statistics_of(site->function);

	sample_hit(hit->tgid, site->function);
	if (!stats || (site->flags & SITE_FLAG_CLOSED))
		return LEAVE_RETURN;
	hit->governed = governed_bits(site->function);
	if (is_seen(regs, site->function, hit->governed))
		return LEAVE_RETURN;
	if (hit->governed & GOVERNED_COUNTED) {
		count_call(stats);
		count_lost(stats, LOST_GOVERNOR);
		return LEAVE_RETURN;
	}
	if (!find_place(slot, at) || !may_replace_return(site, at, slot, hit->tgid)) {
		count_call(stats);
		count_lost(stats, LOST_ENTRY_ONLY);
		return LEAVE_RETURN;
	}
	if (has_too_many_replaced(at->task)) {
		count_call(stats);
		count_lost(stats, LOST_TOO_DEEP);
		return LEAVE_RETURN;
	}
	return begin_call(regs, site, hit, at, slot, stats, target) ? REPLACE_RETURN : LEAVE_RETURN;
}

/* The call may be gone: a tail caller's has ended already, a forked child's is its parent's. */
INLINE void leave_around(struct pt_regs *regs, const struct site *site, struct place *at,
			 struct hit *hit)
{
	__u64 slot = STACK_POINTER(regs) - 8, offset, error[2];
	struct function_values *wanted;
	struct open_call *call;

	if (!find_place(slot, at) || !at->stack)
		return;
	hit->stack = at->key;
	hit->function = site->function;
	offset = at->end - slot;
	end_deeper(at->stack, hit, offset);
	call = call_to_leave(at->stack, hit, offset);
	if (!call)
		return;
	wanted = values_of(site->function);
	hit->bias = call->bias;
	if (wanted) {
		hit->failed = returned_error(regs, wanted, slot, error);
		if (!call->dropped &&
		    read_results(regs, wanted, load8(call->span_id), hit->bias, slot, error))
			call->has_values = 1;
	}
	close_call(at->stack, at->stack->depth, hit, END_RETURNED);
}

#define PAGE_SIZE 4096 /* or a multiple of it */

/* The thread's innermost call is one of the function, and would return as this hit stands. */
INLINE bool may_return(struct pt_regs *regs, const struct site *site, struct place *at)
{
	__u32 depth = at->stack->depth;
	struct open_call *call = CALL_SLOT(at->stack, depth - 1);

	return depth && call->function == site->function &&
	       call->offset == at->end - (STACK_POINTER(regs) - 8);
}

/*
 * Whether a call begins, and then where its module is mapped. The instruction pointer tells: at a
 * return it is where the function returns to. Where the entry is the kernel knows, but to ask takes
 * time. Modules are mapped by pages; so most returns are told by their place in the page, and most
 * entries since the module is where it was when the thread was here before. In all other cases, and
 * where that may have become the place of another module, the kernel is asked.
 */
INLINE bool begins(struct pt_regs *regs, const struct site *site, struct place *at, struct hit *hit)
{
	__u64 pointer = INSTRUCTION_POINTER(regs);
	__u64 bias = pointer - site->address;

	if (!settings.position_independent)
		return !bias;
	if (bias % PAGE_SIZE)
		return false;
	if (!at->stack || at->stack->bias != bias || may_return(regs, site, at)) {
		if (pointer != bpf_get_func_ip(regs))
			return false;
		if (at->stack)
			at->stack->bias = bias;
	}
	hit->bias = bias;
	return true;
}

/*
 * Both ends of a call, in a uprobe.session. (The kfunc that says which of them it is has taken an
 * argument since Linux 7.0, and libbpf before 1.3 lets no object name both kinds.)
 */
SEC("uprobe/session")
int around(struct pt_regs *regs)
{
	struct hit hit = { .context = regs, .now = bpf_ktime_get_ns() };
	struct target *target = NULL;
	struct place at = {};
	struct site *site;

	STAY_ON_THREAD_STACK();
	site = find_native_site(regs, &at, &hit, &target);
	if (!site)
		return LEAVE_RETURN;
	if (begins(regs, site, &at, &hit))
		return enter_around(regs, site, &at, &hit, target);
	leave_around(regs, site, &at, &hit);
	return REPLACE_RETURN;
}

/* If there is no room, the next change tells. */
INLINE void libraries_changed(struct pt_regs *regs, __u32 tgid, __u64 now)
{
	struct process_record record = {
		.header = { .kind = RECORD_PROCESS, .size = sizeof(record) },
		.time_ns = now,
		.event = PROCESS_MAPPED,
		.tgid = tgid,
	};

	output_record(regs, &record, sizeof(record));
}

/* The calls of a stack that lie deeper than `offset` are over. */
INLINE void end_below(struct hit *hit, const struct stack_key *key, __u64 offset)
{
	struct stack *stack = find_stack(key);

	if (!stack)
		return;
	hit->stack = key->stack;
	hit->tgid = key->tgid;
	end_deeper(stack, hit, offset);
}

/* What the C library and the language's runtime do with stacks. */
SEC("uprobe")
int support(struct pt_regs *regs)
{
	struct hit hit = { .context = regs, .now = bpf_ktime_get_ns() };
	struct stack_key key = {};
	struct thread_stack *on;
	struct site *site;
	__u64 bias, left;

	STAY_ON_THREAD_STACK();
	site = find_site(regs, &key.tgid, &bias);
	if (!site)
		return 0;
	count_support();
	switch (site->kind) {
	case SITE_SWITCH_STACK:
		stack_switched(ARGUMENT(regs, site->context_at));
		break;
	case SITE_CATCH:
	case SITE_LONG_JUMP:
		on = thread_stack_at(STACK_POINTER(regs));
		if (!on)
			break;
		key.stack = on->stack;
		left = STACK_POINTER(regs) + 1;
		if (site->kind == SITE_LONG_JUMP)
			left = jump_target(ARGUMENT(regs, site->context_at), STACK_POINTER(regs),
					   on->high);
		if (left)
			end_below(&hit, &key, offsets_from(on) - left);
		break;
	case SITE_LIBRARIES:
		bpf_map_delete_elem(&trampolines, &key.tgid);
		libraries_changed(regs, key.tgid, hit.now);
		break;
	}
	return 0;
}
