/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * A ret carried out by the program at its site. The kernel single-steps the instruction under a
 * probe, which takes a second trap, unless a program has moved ip (Linux 6.19, commits 7384893d970e
 * and 4363264111e1). Programs of other tracers at the same site see what the first of them left:
 * done twice the target would crash, so where ip is told by the open call, which knows from its
 * entry where the module is, and not by ip itself.
 */
#ifndef UNDERSPAN_RETURNS_BPF_H
#define UNDERSPAN_RETURNS_BPF_H

#include "calls.bpf.h"
#include "memory.bpf.h"
#include "registers.bpf.h"
#include "task.bpf.h"

#define TRAP_FLAG (1 << 8)
#define USER_ADDRESS_BITS 47

/*
 * The stack pointer as the ret at `site` found it, and hit->bias as true as it was then: what a
 * program of another tracer at the same site has carried out is undone in our view of it. `end` is
 * what offsets are measured from.
 */
INLINE __u64 stack_pointer_at_return(const struct pt_regs *regs, const struct site *site,
				     struct stack *stack, __u64 end, struct hit *hit)
{
	__u64 stack_pointer = STACK_POINTER(regs), offset, to;
	struct open_call *call;

	if (!settings.writes_registers || !(site->flags & SITE_FLAG_PLAIN_RETURN))
		return stack_pointer;
	offset = end - (stack_pointer - 8);
	end_deeper(stack, hit, offset);
	if (!stack->depth)
		return stack_pointer;
	call = CALL_SLOT(stack, stack->depth - 1);
	if (call->function != site->function ||
	    INSTRUCTION_POINTER(regs) == site->address + call->bias ||
	    read_user(&to, sizeof(to), stack_pointer - 8) || to != INSTRUCTION_POINTER(regs))
		return stack_pointer;
	hit->bias = call->bias;
	return stack_pointer - 8;
}

/*
 * The last thing that a program does at a return that ended an open call of ours, whose bias is
 * hit->bias. Whatever is in doubt is left to the kernel, as is what a debugger steps through.
 */
INLINE void carry_out_return(struct pt_regs *regs, const struct site *site, const struct hit *hit)
{
	__u64 to;

	if (!settings.emulate_returns || !(site->flags & SITE_FLAG_PLAIN_RETURN) ||
	    INSTRUCTION_POINTER(regs) != site->address + hit->bias || (regs->eflags & TRAP_FLAG) ||
	    has_shadow_stack(RUNNING_TASK()))
		return;
	if (read_user(&to, sizeof(to), STACK_POINTER(regs)) || !to || to >> USER_ADDRESS_BITS)
		return;
	STORE_REGISTER(regs, rsp, STACK_POINTER(regs) + 8);
	STORE_REGISTER(regs, rip, to);
}

#endif
