// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/*
 * Functions of the kernel: entry and return, by kprobes (one by one or by kprobe.multi) or by
 * fentry and fexit. Only calls that the kernel makes in the context of a target's task count.
 */
/* What is read from calls lies in the kernel's own memory. */
#define VALUES_OF_KERNEL
#include "common.bpf.h"

const volatile struct settings settings = {};

#include "program_spans.bpf.h"

/* The kernel does not panic in the way of Go. */
INLINE void note_panic(struct stack *stack, struct open_call *call)
{
}

/* What a goroutine inherits is kept with it; a thread inherits nothing. */
INLINE void inherit(struct stack *stack, __u64 key, __u32 tgid, struct context *context)
{
	copy16(context->trace_id, stack->inherited.trace_id);
	store8(context->span_id, load8(stack->inherited.span_id));
	context->trace_flags = stack->inherited.trace_flags;
	context->source = stack->inherited.source;
}

#define ARGUMENT native_argument
#define CONTEXT struct bpf_user_pt_regs_t
/* Its programs have contexts of several types. */
#define CLOSE_WAITS OUT_OF_LINE
#include "calls.bpf.h"
#include "kernel_stacks.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

INLINE struct open_call *enter_function(struct kernel_hit *at, __u32 function)
{
	struct hit hit = { .context = at->program,
			   .now = bpf_ktime_get_ns(),
			   .function = function };
	struct context context = {};
	enum stack_found found;
	struct stack *stack = NULL;
	struct statistics *stats;
	struct stack_key key = {};
	bool foreign;

	if (!of_target(at, &foreign))
		return NULL;
	stats = statistics_of(function);
	if (!stats)
		return NULL;
	if (foreign) {
		ADD(stats->foreign, 1);
		return NULL;
	}
	if (settings.entry_only) {
		count_call(stats);
		count_lost(stats, LOST_ENTRY_ONLY);
		return NULL;
	}
	hit.tgid = key.tgid = at->thread >> 32;
	found = find_stack(at, &key, &stack);
	if (found == STACK_FOUND)
		context.source = current_span(stack, key.tgid, &context);
	else
		stack = need_task_stack(at, &key);
	if (found == STACK_UNREAD)
		context.source = SOURCE_UNREADABLE;
	if (!stack) {
		count_call(stats);
		count_lost(stats, LOST_TABLE_FULL);
		return NULL;
	}
	if (context.source == SOURCE_UNREADABLE)
		ADD(stats->contexts_unreadable, 1);
	hit.stack = key.stack;
	return enter_call(stack, &hit, KERNEL_OFFSET + at->top - at->slot, &context, stats);
}

/* The number that a call of the kernel returns, kept if it is asked for. */
INLINE void keep_result(struct open_call *call, struct hit *hit, __u64 result)
{
	struct function_values *wanted = values_of(hit->function);
	__u64 span_id = load8(call->span_id);
	struct call_values *values;
	bool tells;

	if (!wanted)
		return;
	hit->failed = wanted->error_kind == ERROR_NEGATIVE &&
		      (result >> ((8 * wanted->error_size - 1) & 63) & 1);
	tells = hit->failed && wanted->error_plan;
	if (call->dropped || (!wanted->results && !tells))
		return;
	values = add_values(span_id);
	if (!values)
		return;
	values->words[0] = result;
	if (wanted->results)
		read_value(span_id, wanted->first + wanted->arguments, wanted->arguments);
	if (tells)
		read_value(span_id, wanted->first + wanted->arguments + wanted->results,
			   SPECIAL_RESULT_ERROR);
	call->has_values = 1;
}

/* The open call that ends here, with the stack that it is on. `function` is 0 where only its place
 * is known. */
INLINE bool leave_on(struct stack *stack, struct hit *hit, __u64 offset, __u32 function,
		     __u64 result)
{
	__u32 depth;

	if (!stack)
		return false;
	drop_deeper(stack, offset);
	depth = stack->depth;
	if (!depth || CALL_SLOT(stack, depth - 1)->offset != offset)
		return false;
	hit->function = CALL_SLOT(stack, depth - 1)->function;
	if (function && function != hit->function)
		return false;
	keep_result(CALL_SLOT(stack, depth - 1), hit, result);
	close_call(stack, depth, hit, END_RETURNED);
	return true;
}

INLINE void leave_function(struct kernel_hit *at, __u32 function, __u64 result)
{
	struct hit hit = { .context = at->program, .now = bpf_ktime_get_ns() };
	struct stack *stack = NULL;
	struct statistics *stats;
	struct stack_key key = {};
	__u64 offset;
	bool foreign;

	if (!of_target(at, &foreign) || foreign)
		return;
	hit.tgid = key.tgid = at->thread >> 32;
	offset = KERNEL_OFFSET + at->top - at->slot;
	if (find_stack(at, &key, &stack) == STACK_FOUND) {
		hit.stack = key.stack;
		if (leave_on(stack, &hit, offset, function, result))
			return;
	}
	task_key(at, &key);
	hit.stack = key.stack;
	if (leave_on(bpf_map_lookup_elem(&stacks, &key), &hit, offset, function, result))
		return;
	stats = function ? statistics_of(function) : NULL;
	if (stats)
		ADD(stats->unpaired_returns, 1);
}

SEC("kprobe")
int enter(struct pt_regs *regs)
{
	struct kernel_hit hit = { .program = regs, .slot = STACK_POINTER(regs) };
	struct function_values *wanted;
	struct open_call *call;
	__u32 function;

	if (settings.has_cookies) {
		function = bpf_get_attach_cookie(regs);
	} else {
		/* The probe's breakpoint has been executed. */
		__u64 address = INSTRUCTION_POINTER(regs) - 1;
		__u32 *found = bpf_map_lookup_elem(&site_by_address, &address);

		if (!found)
			return 0;
		function = *found;
	}
	call = enter_function(&hit, function);
	wanted = values_of(function);
	if (call && wanted && !call->dropped)
		call->has_values = read_arguments(regs, 0, wanted, load8(call->span_id), 0);
	return 0;
}

SEC("kprobe")
int leave(struct pt_regs *regs)
{
	struct kernel_hit hit = { .program = regs,
				  .slot = STACK_POINTER(regs) - settings.return_distance };

	leave_function(&hit, settings.has_cookies ? bpf_get_attach_cookie(regs) : 0, regs->rax);
	return 0;
}

/* What is passed to such a program lies on the stack, at the same place at entry and return. */
INLINE __u64 place_of(const void *arguments)
{
	const void *kept = arguments;
	__u64 place = 0;

	bpf_probe_read_kernel(&place, sizeof(place), &kept);
	return place;
}

/* As plain memory, which every verifier allows. */
INLINE bool read_trampoline(const __u64 *arguments, const struct function_values *wanted,
			    __u64 span_id)
{
	struct call_values *values = wanted->arguments ? add_values(span_id) : NULL;

	__u32 size = settings.arguments < 6 ? settings.arguments * sizeof(__u64) : 48;

	if (!values || !size ||
	    bpf_probe_read_kernel(values->words, size, (const void *)place_of(arguments)))
		return false;
	for (__u64 i = 0; i < MAX_VALUES; i++) {
		if (i >= wanted->arguments)
			break;
		read_value(span_id, wanted->first + i, i);
	}
	return true;
}

SEC("fentry")
int enter_trampoline(__u64 *arguments)
{
	struct kernel_hit hit = { .program = arguments, .slot = place_of(arguments) };
	struct open_call *call = enter_function(&hit, settings.first_function);
	struct function_values *wanted = values_of(settings.first_function);

	if (call && wanted && !call->dropped)
		call->has_values = read_trampoline(arguments, wanted, load8(call->span_id));
	return 0;
}

SEC("fexit")
int leave_trampoline(__u64 *arguments)
{
	struct kernel_hit hit = { .program = arguments, .slot = place_of(arguments) };
	__u64 result = 0;

	/* What a function returns comes behind its arguments, which are counted where it matters.
	 */
	if (settings.values)
		bpf_probe_read_kernel(&result, sizeof(result),
				      (const __u64 *)hit.slot + settings.arguments);
	leave_function(&hit, settings.first_function, result);
	return 0;
}
