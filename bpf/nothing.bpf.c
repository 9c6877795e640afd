// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/* Empty programs: what a probe costs by itself, and the least that any tracer can cost. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("uprobe")
int nothing(void *regs)
{
	return 0;
}

/* At both ends of a call: the answer at the entry is to have its return address replaced. */
SEC("uprobe/session")
int nothing_around(void *regs)
{
	return 0;
}
