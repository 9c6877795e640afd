/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* The way into the target's memory. */
#ifndef UNDERSPAN_MEMORY_BPF_H
#define UNDERSPAN_MEMORY_BPF_H

#include "common.bpf.h"

/*
 * Reads the target's memory. bpf_probe_read_user fails on a page that is not resident; a
 * sleepable program (Linux 6.0, commit 8c7dcb84e3b7) may fault it in. The global functions of
 * others may not even hold the call, dead or not: the verifier of Linux 6.18 looks before it knows.
 */
INLINE long read_user(void *to, __u64 size, __u64 from)
{
#ifdef VALUES_OF_KERNEL
	long error = bpf_probe_read_kernel(to, size, (const void *)from);
#else
	long error = bpf_probe_read_user(to, size, (const void *)from);
#endif

#if SLEEPABLE && !defined(VALUES_OF_KERNEL)
	if (error)
		error = bpf_copy_from_user(to, size, (const void *)from);
#endif
	return error;
}

#endif
