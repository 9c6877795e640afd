// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/* A program that does nothing: what its runs take is the measuring's. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("uprobe")
int empty(void *regs)
{
	return 0;
}
