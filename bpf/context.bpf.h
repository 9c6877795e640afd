/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* The span under which a call happens, wherever it was found. */
#ifndef UNDERSPAN_CONTEXT_BPF_H
#define UNDERSPAN_CONTEXT_BPF_H

#include "common.bpf.h"

/* A context, once found. Times and pointers only where the source has them. */
struct context {
	__u8 trace_id[16];
	__u8 span_id[8];
	__u64 pointer; /* the span in the target */
	__u64 start_ns; /* 0: before this session, or not known */
	__u32 trace_flags;
	__u32 source; /* enum context_source */
	__u64 tracer_at; /* where the target keeps the span's tracer; 0: not known */
	__u64 truncated; /* there were more wrappers around it than are followed */
};

#endif
