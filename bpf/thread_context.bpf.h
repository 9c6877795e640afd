/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * The context that a thread publishes in a thread-local variable: OTEP 4947, and the older format
 * of Elastic's agents. Read on the thread itself, which is what both ask for: then a record is
 * whole, or says that it is not.
 */
#ifndef UNDERSPAN_THREAD_CONTEXT_BPF_H
#define UNDERSPAN_THREAD_CONTEXT_BPF_H

#include "context.bpf.h"
#include "memory.bpf.h"
#include "targets.bpf.h"
#include <bpf/bpf_core_read.h>

/* Of the record that the variable points to; its attributes follow. */
struct otel_thread_context {
	__u8 trace_id[16];
	__u8 span_id[8];
	__u8 valid;
	__u8 flags;
	__u8 attributes_size[2];
	__u8 pad[4];
};

/* From `minor` on. The ids of the record are aligned here alone. */
struct elastic_thread_context {
	__u8 pad[3];
	__u8 minor[2];
	__u8 valid;
	__u8 present;
	__u8 flags;
	__u8 trace_id[16];
	__u8 span_id[8];
};

#define OTEL_RECORD_SIZE 28
#define ELASTIC_RECORD_SIZE 29

#if defined(__TARGET_ARCH_arm64)
struct thread_struct___pointer {
	struct {
		unsigned long tp_value;
	} uw;
} __attribute__((preserve_access_index));
#else
struct thread_struct___pointer {
	unsigned long fsbase;
} __attribute__((preserve_access_index));
#endif

struct task_struct___pointer {
	struct thread_struct___pointer thread;
} __attribute__((preserve_access_index));

/* As the C library has set it by a system call; 0: it has none. */
INLINE __u64 thread_pointer(void)
{
	struct task_struct___pointer *task = (void *)bpf_get_current_task();

#if defined(__TARGET_ARCH_arm64)
	return BPF_CORE_READ(task, thread.uw.tp_value);
#else
	return BPF_CORE_READ(task, thread.fsbase);
#endif
}

#define TABLE_OFFSET 8 /* of the pointer to the DTV, from the thread pointer */
#define GLIBC_ENTRY 16
/* glibc, of a segment that the thread has not used yet. */
#define NO_SEGMENT (~0ULL)

/* The address of the running thread's copy of the variable; 0: it has none yet. */
INLINE long find_variable(const struct thread_context_place *place, __u64 *variable)
{
	__u64 pointer = thread_pointer();
	__u64 table, count, segment;

	*variable = 0;
	if (!pointer)
		return 0;
	if (!place->module) {
		*variable = pointer + place->offset;
		return 0;
	}
	if (read_user(&table, sizeof(table), pointer + TABLE_OFFSET))
		return -1;
	/* How many it holds stands before it in glibc, and is its first element in musl. */
	if (read_user(&count, sizeof(count),
		      place->entry_size == GLIBC_ENTRY ? table - GLIBC_ENTRY : table))
		return -1;
	if (place->module > count)
		return 0;
	if (read_user(&segment, sizeof(segment), table + (__u64)place->module * place->entry_size))
		return -1;
	if (segment && segment != NO_SEGMENT)
		*variable = segment + place->offset;
	return 0;
}

INLINE enum context_source read_otel_context(__u64 record, struct context *found)
{
	struct otel_thread_context read = {};

	if (read_user(&read, OTEL_RECORD_SIZE, record))
		return SOURCE_UNREADABLE;
	/* So a writer withdraws a record that stays where it is. */
	if (!read.valid)
		return SOURCE_NONE;
	if (read.valid != 1)
		return SOURCE_UNREADABLE;
	copy16(found->trace_id, read.trace_id);
	store8(found->span_id, load8(read.span_id));
	found->trace_flags = read.flags;
	return SOURCE_THREAD;
}

INLINE enum context_source read_elastic_context(__u64 record, struct context *found)
{
	struct elastic_thread_context read = {};

	if (read_user(read.minor, ELASTIC_RECORD_SIZE, record))
		return SOURCE_UNREADABLE;
	/* It is being changed; that there is no trace is told otherwise. */
	if (!read.valid)
		return SOURCE_UNREADABLE;
	if (!read.present)
		return SOURCE_NONE;
	copy16(found->trace_id, read.trace_id);
	store8(found->span_id, load8(read.span_id));
	found->trace_flags = read.flags;
	return SOURCE_THREAD;
}

/* The context that the running thread publishes. */
INLINE enum context_source thread_context(const struct thread_context_place *place,
					  struct context *found)
{
	enum context_source source;
	__u64 variable, record;

	if (place->format == THREAD_CONTEXT_NONE)
		return SOURCE_NONE;
	if (find_variable(place, &variable))
		return SOURCE_UNREADABLE;
	if (!variable)
		return SOURCE_NONE;
	if (read_user(&record, sizeof(record), variable))
		return SOURCE_UNREADABLE;
	if (!record)
		return SOURCE_NONE;
	source = place->format == THREAD_CONTEXT_OTEL ? read_otel_context(record, found)
						      : read_elastic_context(record, found);
	/* Zeroes mean that there is none; half of an id is no context either. */
	if (source == SOURCE_THREAD &&
	    ((!load8(found->trace_id) && !load8(found->trace_id + 8)) || !load8(found->span_id)))
		return SOURCE_NONE;
	return source;
}

#define SEEN_SLOT(stack, n) (&(stack)->spans[slot_index(n, MAX_PROGRAM_SPANS)])

/*
 * Says since when the context is there, as far as the hits on this stack have seen it: nothing else
 * does. Contexts are attached and detached like brackets. So one that is back where it was seen
 * before, around those that have come since, is as old as then; any other has been attached just
 * now, also if the thread has had it before. A thread's stack has no program spans, whose places
 * hold those that are attached, from the outermost in.
 */
INLINE void date_context(struct stack *stack, struct context *found, __u64 now)
{
	struct program_span *slot;
	__u32 count = stack->span_count;

	if (found->source == SOURCE_NONE)
		stack->span_count = 0;
	if (found->source != SOURCE_THREAD)
		return;
	for (__u64 i = 0; i < MAX_PROGRAM_SPANS && count; i++, count--) {
		slot = SEEN_SLOT(stack, count - 1);
		if (load8(slot->span_id) == load8(found->span_id) &&
		    same16(slot->trace_id, found->trace_id)) {
			found->start_ns = slot->start_ns;
			stack->span_count = count;
			return;
		}
	}
	/* One too many takes the place of the innermost. */
	count = stack->span_count < MAX_PROGRAM_SPANS ? stack->span_count : MAX_PROGRAM_SPANS - 1;
	slot = SEEN_SLOT(stack, count);
	slot->start_ns = now;
	copy16(slot->trace_id, found->trace_id);
	store8(slot->span_id, load8(found->span_id));
	found->start_ns = now;
	stack->span_count = count + 1;
}

#endif
