/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * What calls allocate. Never each allocation is seen, but those that the runtime samples for its
 * own profile; or the memory that it sets aside to allocate from, told to whoever needed it.
 */
#ifndef UNDERSPAN_ALLOCATIONS_BPF_H
#define UNDERSPAN_ALLOCATIONS_BPF_H

#include "allocation_stacks.bpf.h"
#include "registers.bpf.h"
#include "waits.bpf.h"

/*
 * The bytes that one sampled allocation stands for: of its size are sampled 1 - exp(-size / rate),
 * so it stands for size / (1 - exp(-size / rate)). With y = size / rate / 2 that is
 * rate * (y + y * coth(y)), where a fraction of polynomials is within 0.1 % of y * coth(y) for y up
 * to 4; beyond it is y itself, as nearly.
 */
INLINE __u64 sampled_bytes(__u64 size, __u64 rate)
{
	__u64 y, square, fourth, coth;

	if (rate <= 1)
		return size;
	/* With ten binary places. */
	y = (size << 9) / rate;
	if (y >= 4 << 10)
		return size;
	square = y * y >> 10;
	fourth = square * square >> 10;
	coth = ((945 << 10) + 420 * square + 15 * fourth) * 1024 /
	       ((945 << 10) + 105 * square + fourth);
	return rate * (y + coth) >> 10;
}

/* On a goroutine that has open calls. All of it is within a function of the runtime, which has set
 * up its frame, and runs on the goroutine's own stack: g0 has no calls. */
INLINE void count_allocated(struct pt_regs *regs, struct stack *stack, __u64 g, __u64 bytes)
{
	struct open_call *call = CALL_SLOT(stack, stack->depth - 1);
	struct frames frames = {};
	struct waits *waits;

	if (!(call->watched & WATCHED_ALLOCATIONS))
		return;
	waits = add_waits(call);
	if (waits) {
		ADD(waits->allocated, bytes);
		ADD(waits->allocations, 1);
	}
	if (!settings.allocation_stacks)
		return;
	frames.first = FRAME_POINTER(regs);
	frames.low = STACK_POINTER(regs);
	if (!stack->stack_hi)
		stack->stack_hi = read_stack_hi(g, frames.low);
	if (stack->stack_hi)
		frames.end = stack->stack_hi - call->offset;
	frames.bias = call->bias;
	count_stack(&frames, call->function, bytes);
}

INLINE void allocate(struct pt_regs *regs, struct site *site, struct stack_key *key)
{
	struct stack *goroutine = bpf_map_lookup_elem(&stacks, key);

	if (!goroutine || !goroutine->depth)
		return;
	switch (site->kind) {
	case SITE_REFILL:
		count_allocated(regs, goroutine, key->stack, go_argument(regs, 1));
		break;
	case SITE_SAMPLE_RATE:
		goroutine->sample_rate = go_argument(regs, 0);
		break;
	case SITE_SAMPLE:
		count_allocated(regs, goroutine, key->stack,
				sampled_bytes(go_argument(regs, site->context_at == 1 ? 1 : 2),
					      goroutine->sample_rate));
		goroutine->sample_rate = 0;
		break;
	}
}

#endif
