/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* What every program here needs: the settings, atomic counters, ids as words. */
#ifndef UNDERSPAN_COMMON_BPF_H
#define UNDERSPAN_COMMON_BPF_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "records.h"

/* Always inlined helpers of several hundred instructions are intended here. */
#define INLINE static __always_inline
#define OUT_OF_LINE static __noinline

/* Each object defines its own; processes.bpf.c has fewer of them. */
#ifndef SETTINGS
#define SETTINGS struct settings
#endif
extern const volatile SETTINGS settings;

/*
 * From Linux 6.13 on (commit a76ab5731e32) a program whose frame has 64 bytes or more runs on a
 * stack of its CPU. Uprobe programs are preempted, and sleep: then the next one on that CPU would
 * overwrite the frame. A program that holds a tail call keeps the thread's stack, and is told by
 * looking at its instructions before dead ones are removed; so this one is never run nor verified.
 */
#if ATOMICS
#define STAY_ON_THREAD_STACK()                                                                     \
	do {                                                                                       \
		if (settings.never)                                                                \
			asm volatile("call %[tail_call]"                                           \
				     :                                                             \
				     : [tail_call] "i"(BPF_FUNC_tail_call)                         \
				     : "r0", "r1", "r2", "r3", "r4", "r5");                        \
	} while (0)
#else
#define STAY_ON_THREAD_STACK()
#endif

#define ADD(counter, n) __sync_fetch_and_add(&(counter), n)

/* Raises *high to value. Without compare-and-exchange (before Linux 5.12, commit 5ffa25502b5a)
 * programs are not preempted, so that a shard for each CPU is exact all the same. */
INLINE void raise(__u64 *high, __u64 value)
{
#if ATOMICS
	__u64 seen = *(volatile __u64 *)high;

	for (int i = 0; i < 8 && value > seen; i++) {
		__u64 old = __sync_val_compare_and_swap(high, seen, value);

		if (old == seen)
			break;
		seen = old;
	}
#else
	if (value > *high)
		*high = value;
#endif
}

/* n modulo a power of two, in a way that the compiler cannot prove away: the verifier has no
 * other sight of the bound. */
INLINE __u32 slot_index(__u32 n, __u32 size)
{
	asm volatile("" : "+r"(n));
	return n & (size - 1);
}

/* splitmix64's finalizer: every input bit changes half of the output bits. */
INLINE __u64 mix(__u64 x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9ULL;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

INLINE __u64 load8(const __u8 *bytes)
{
	return *(const __u64 *)bytes;
}

INLINE void store8(__u8 *bytes, __u64 value)
{
	*(__u64 *)bytes = value;
}

INLINE bool same16(const __u8 *a, const __u8 *b)
{
	return load8(a) == load8(b) && load8(a + 8) == load8(b + 8);
}

INLINE void copy16(__u8 *to, const __u8 *from)
{
	store8(to, load8(from));
	store8(to + 8, load8(from + 8));
}

#endif
