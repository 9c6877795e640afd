/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* What is known of goroutines: the table of open calls, and what they inherit. */
#ifndef UNDERSPAN_OPEN_CALLS_BPF_H
#define UNDERSPAN_OPEN_CALLS_BPF_H

#include "common.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct stack_key);
	__type(value, struct goroutine);
} goroutines SEC(".maps");

/* What goroutines inherit that have not run a traced function yet. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, struct stack_key);
	__type(value, struct inherited);
} inheritances SEC(".maps");

#define PANIC_SLOT(goroutine, n) (&(goroutine)->panics[slot_index(n, MAX_OPEN_PANICS)])
#define CALL_SLOT(goroutine, n) (&(goroutine)->calls[slot_index(n, MAX_OPEN_CALLS)])

#endif
