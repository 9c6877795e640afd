// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/* Threads that exit. Apart from the rest, whose programs have another kind of context. */
#include "common.bpf.h"

const volatile struct settings settings = {};

#define CONTEXT struct bpf_raw_tracepoint_args
#include "threads.bpf.h"
#include "calls.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

INLINE void end_stack(struct hit *hit, struct stack_key *key)
{
	if (!find_stack(key))
		return;
	hit->stack = key->stack;
	unwind_calls(hit, 0, END_EXITED);
	remove_stack(key);
}

/* What is open on the stack of a thread that exits, and in the kernel, will not return. */
SEC("raw_tp/sched_process_exit")
int thread_exited(struct bpf_raw_tracepoint_args *arguments)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct thread_stack *on = bpf_map_lookup_elem(&thread_stacks, &thread);
	struct stack_key key = { .tgid = thread >> 32 };
	struct hit hit = { .context = arguments, .now = bpf_ktime_get_ns(), .tgid = thread >> 32 };

	if (on) {
		key.stack = on->stack;
		bpf_map_delete_elem(&thread_stacks, &thread);
		end_stack(&hit, &key);
	} else if (!IS_MAIN(thread)) {
		/* Of many threads those are forgotten that are always on their own stacks. */
		key.stack = OWN_STACK_KEY | own_stack_end(RUNNING_TASK(), thread);
		end_stack(&hit, &key);
	}
	key.stack = TASK_KEY | (__u32)thread;
	end_stack(&hit, &key);
	return 0;
}
