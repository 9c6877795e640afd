/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * What a call was called with and what it returned, read as the plans of its function say. Bounded
 * in bytes, and kept in an element of its own while the call is open.
 *
 * The readers are global functions: the verifier looks at each once, not at every round of a loop.
 * They take numbers only (pointers are Linux 5.13, commit e5069b9c23b3), so the registers of the
 * hit are copied into the element first.
 */
#ifndef UNDERSPAN_VALUES_BPF_H
#define UNDERSPAN_VALUES_BPF_H

#include "memory.bpf.h"
#include "registers.bpf.h"

/* By span id. Elements that are left over make room for new ones. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, struct call_values);
} call_values SEC(".maps");

/* An empty element, too large for a program's stack. Never written. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct call_values);
} blank_values SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct value_plan);
} value_plans SEC(".maps");

/* By function, from settings.first_function on. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct function_values);
} function_values SEC(".maps");

/* By dynamic type, as the module's file numbers it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, struct error_text);
} error_texts SEC(".maps");

INLINE struct function_values *values_of(__u32 function)
{
	__u32 index = function - settings.first_function;

	if (!settings.values)
		return NULL;
	return bpf_map_lookup_elem(&function_values, &index);
}

/* The call's element, made if need be; NULL: no room. */
INLINE struct call_values *add_values(__u64 span_id)
{
	struct call_values *values = bpf_map_lookup_elem(&call_values, &span_id);
	__u32 zero = 0;

	if (!values) {
		struct call_values *blank = bpf_map_lookup_elem(&blank_values, &zero);

		if (!blank)
			return NULL;
		bpf_map_update_elem(&call_values, &span_id, blank, BPF_NOEXIST);
		values = bpf_map_lookup_elem(&call_values, &span_id);
	}
	return values;
}

/* The same with the registers of this hit. `slot` is where the return address is. */
INLINE struct call_values *need_values(const struct pt_regs *regs, __u64 slot, __u64 span_id,
				       __u64 bias)
{
	struct call_values *values = add_values(span_id);

	if (!values)
		return NULL;
#pragma unroll
	for (__u32 i = 0; i < ARGUMENT_WORDS; i++)
		values->words[i] = ARGUMENT(regs, i);
	values->stack_pointer = slot;
	values->bias = bias;
	return values;
}

/* Where the next value goes, or NULL if nothing more fits. */
INLINE struct value_header *next_value(struct call_values *values, __u64 index)
{
	__u32 at = slot_index(values->size, MAX_CALL_BYTES);
	struct value_header *header = (void *)&values->bytes[at];

	if (values->size > MAX_CALL_BYTES - 32 || values->count >= MAX_VALUES + 3)
		return NULL;
	header->index = index;
	header->state = VALUE_READ;
	header->size = 0;
	header->pad = 0;
	header->length = 0;
	header->type = 0;
	values->count++;
	values->size += sizeof(*header);
	return header;
}

/* Reads the bytes of a value behind its header; `size` is at most MAX_VALUE_BYTES. */
INLINE void read_bytes(struct call_values *values, struct value_header *header, __u64 from,
		       __u64 size)
{
	__u32 at = slot_index(values->size, MAX_CALL_BYTES);

	/* As one register of 64 bits, or the verifier of Linux 5.10 loses the bound. */
	asm volatile("" : "+r"(size));
	if (size > MAX_VALUE_BYTES || size == 0)
		return;
	if (read_user(&values->bytes[at], size, from)) {
		header->state = VALUE_UNREADABLE;
		return;
	}
	header->size = size;
	values->size += (size + 7) & ~7ULL;
}

/* Text up to its zero behind its header; `limit` is at most MAX_VALUE_BYTES / 2. */
INLINE void read_cstring(struct call_values *values, struct value_header *header, __u64 from,
			 __u64 limit)
{
	__u32 at = slot_index(values->size, MAX_CALL_BYTES);
	/* The zero, and one byte by which longer text is known. */
	__u64 room = limit + 2;
	long size;
	__u8 byte;

	asm volatile("" : "+r"(room));
	if (room > MAX_VALUE_BYTES)
		return;
#ifdef VALUES_OF_KERNEL
	/* What a system call is given is in the program's memory, the lower half. */
	if ((__s64)from < 0)
		size = bpf_probe_read_kernel_str(&values->bytes[at], room, (const void *)from);
	else
#endif
		size = bpf_probe_read_user_str(&values->bytes[at], room, (const void *)from);
	/* Pages that are not resident are faulted in by another helper, which needs a size. */
	if (size < 0 && !read_user(&byte, sizeof(byte), from)) {
		read_user(&byte, sizeof(byte), (from | 4095) + 1);
		size = bpf_probe_read_user_str(&values->bytes[at], room, (const void *)from);
	}
	if (size <= 0) {
		header->state = VALUE_UNREADABLE;
		return;
	}
	size--;
	header->length = size;
	if (size > limit) {
		header->state = VALUE_CUT;
		size = limit;
	}
	header->size = size;
	values->size += (size + 7) & 0x1f8;
}

/* The text of an error behind its header, if it is known where values of its type keep it. */
INLINE void read_text(struct call_values *values, struct value_header *header, __u64 data)
{
	__u64 type = header->type, text[2];
	struct error_text *known =
		settings.error_text ? bpf_map_lookup_elem(&error_texts, &type) : NULL;

	if (!known)
		return;
	if (known->kind == ERROR_TEXT_PLAIN) {
		read_bytes(values, header, data, known->offset);
	} else if (!data) {
		header->state = VALUE_NIL;
	} else if (read_user(text, sizeof(text), data + known->offset)) {
		header->state = VALUE_UNREADABLE;
	} else if (text[0]) {
		header->length = text[1];
		if (text[1] > MAX_VALUE_BYTES) {
			header->state = VALUE_CUT;
			text[1] = MAX_VALUE_BYTES;
		}
		read_bytes(values, header, text[0], text[1]);
	}
}

#define LIBCXX_LONG 1 /* in the first byte */
#define LIBCXX_LONGEST_SHORT 22

/*
 * Capacity, length and pointer; or twice the length in one byte and then the text. True: it is the
 * former, and pointer and length are in `words`.
 */
INLINE bool read_libcxx_string(struct call_values *values, struct value_header *header,
			       __u64 address, __u64 words[3])
{
	if (read_user(words, 24, address)) {
		header->state = VALUE_UNREADABLE;
		return false;
	}
	if (words[0] & LIBCXX_LONG) {
		words[0] = words[2];
		return true;
	}
	header->length = (words[0] & 0xff) >> 1;
	if (header->length > LIBCXX_LONGEST_SHORT)
		header->state = VALUE_UNREADABLE;
	else
		read_bytes(values, header, address + 1, header->length);
	return false;
}

/* One of the function's own values, by its plan. */
__noinline int read_value(__u64 span_id, __u64 plan_index, __u64 index)
{
	struct call_values *values = bpf_map_lookup_elem(&call_values, &span_id);
	__u32 plan_at = plan_index;
	struct value_plan *plan = bpf_map_lookup_elem(&value_plans, &plan_at);
	__u64 address = 0, words[3] = {}, size, length_word;
	struct value_header *header;

	if (!values || !plan)
		return 0;
	header = next_value(values, index);
	if (!header || plan->kind == VALUE_HIDDEN)
		return 0;
	if (plan->place == VALUE_STACK)
		address = values->stack_pointer + 8 + plan->at;
	else if (plan->steps && plan->at < ARGUMENT_WORDS)
		address = values->words[plan->at];
	for (__u64 i = 0; i < MAX_VALUE_PATH; i++) {
		if (i >= plan->steps)
			break;
		if (!address) {
			header->state = VALUE_NIL;
			return 0;
		}
		address += plan->path[i];
		if (i + 1 < plan->steps && read_user(&address, sizeof(address), address)) {
			header->state = VALUE_UNREADABLE;
			return 0;
		}
	}
	if (plan->kind == VALUE_PLAIN && address) {
		read_bytes(values, header, address, plan->size);
		return 0;
	}
	if (plan->kind == VALUE_LIBCXX_STRING) {
		if (!address || !read_libcxx_string(values, header, address, words))
			return 0;
	} else if (address) {
		bool has_one = plan->kind == VALUE_MAP || plan->kind == VALUE_CSTRING;
		bool is_apart = !has_one && plan->length_at != 8;

		if (read_user(words, has_one || is_apart ? 8 : 16, address) ||
		    (is_apart &&
		     read_user(&words[1], sizeof(words[1]), address + plan->length_at))) {
			header->state = VALUE_UNREADABLE;
			return 0;
		}
	} else {
		for (__u64 i = 0; i < 3; i++)
			if (plan->at + i < ARGUMENT_WORDS)
				words[i] = values->words[plan->at + i];
		length_word = plan->at + ((__s64)plan->length_at >> 3);
		if (plan->kind != VALUE_PLAIN && length_word < ARGUMENT_WORDS)
			words[1] = values->words[length_word];
	}
	switch (plan->kind) {
	case VALUE_PLAIN: {
		__u32 at = slot_index(values->size, MAX_CALL_BYTES);

		__builtin_memcpy(&values->bytes[at], words, sizeof(words));
		header->size = plan->size < sizeof(words) ? plan->size : sizeof(words);
		values->size += (header->size + 7) & ~7U;
		return 0;
	}
	case VALUE_STRING:
	case VALUE_LIBCXX_STRING:
	case VALUE_SLICE:
		header->length = words[1];
		if (!words[0] && plan->kind == VALUE_SLICE)
			header->state = VALUE_NIL;
		if (!words[0])
			return 0;
		size = words[1];
		if (plan->kind == VALUE_SLICE)
			size = size > MAX_VALUE_BYTES ? MAX_VALUE_BYTES : size * plan->size;
		if (size > plan->limit) {
			size = plan->kind == VALUE_SLICE && plan->size
				       ? plan->limit / plan->size * plan->size
				       : plan->limit;
			header->state = VALUE_CUT;
		}
		if (size)
			read_bytes(values, header, words[0], size);
		return 0;
	case VALUE_CSTRING:
		if (words[0])
			read_cstring(values, header, words[0], plan->limit);
		else
			header->state = VALUE_NIL;
		return 0;
	case VALUE_MAP:
		if (!words[0])
			header->state = VALUE_NIL;
		else if (read_user(&header->length, sizeof(header->length), words[0]))
			header->state = VALUE_UNREADABLE;
		return 0;
	case VALUE_INTERFACE:
		if (!words[0])
			header->state = VALUE_NIL;
		else if (plan->has_methods && read_user(&words[0], sizeof(words[0]), words[0] + 8))
			header->state = VALUE_UNREADABLE;
		else
			header->type = words[0] - values->bias;
		if (header->type && plan->limit)
			read_text(values, header, words[1]);
		return 0;
	}
	return 0;
}

/* An error, or the value of a panic: its type, as the module's file numbers it, and its text if it
 * is known where that is. */
__noinline int read_error(__u64 span_id, __u64 type, __u64 data, __u64 index)
{
	struct call_values *values = bpf_map_lookup_elem(&call_values, &span_id);
	struct value_header *header;

	if (!values)
		return 0;
	header = next_value(values, index);
	if (!header)
		return 0;
	header->type = type;
	read_text(values, header, data);
	return 0;
}

/* The return addresses around a call, by frame pointers, which Go keeps in every frame. */
__noinline int read_stack(__u64 span_id, __u64 stack_pointer, __u64 frame)
{
	struct call_values *values = bpf_map_lookup_elem(&call_values, &span_id);
	struct value_header *header;
	__u64 next[2]; /* the frame around, and where it goes on */

	if (!values)
		return 0;
	header = next_value(values, SPECIAL_STACK_TRACE);
	if (!header)
		return 0;
	if (read_user(&next[1], sizeof(next[1]), stack_pointer))
		return 0;
	next[0] = frame;
	for (__u64 i = 0; i < MAX_STACK_FRAMES; i++) {
		__u32 at = slot_index(values->size, MAX_CALL_BYTES);

		if (!next[1])
			return 0;
		*(__u64 *)&values->bytes[at & ~7U] = next[1] - values->bias;
		header->size += 8;
		values->size += 8;
		if (!next[0] || values->size > MAX_CALL_BYTES - 8 ||
		    read_user(next, sizeof(next), next[0]))
			return 0;
	}
	header->state = VALUE_CUT;
	return 0;
}

/* What the function's plans ask for at its entry. Returns whether the call has values. */
INLINE bool read_arguments(const struct pt_regs *regs, __u64 slot,
			   const struct function_values *wanted, __u64 span_id, __u64 bias)
{
	if (!wanted->arguments || !need_values(regs, slot, span_id, bias))
		return false;
	for (__u64 i = 0; i < MAX_VALUES; i++) {
		if (i >= wanted->arguments)
			break;
		read_value(span_id, wanted->first + i, i);
	}
	return true;
}

/* Whether a number, or what tells of an error in the result, says that the call has failed. */
INLINE bool tells_error(const struct pt_regs *regs, const struct function_values *wanted)
{
	__u64 value = ARGUMENT(regs, wanted->error_at), sign;
	__u32 bits = 8 * wanted->error_size;

	if (wanted->error_in_memory) {
		__u64 from = value + wanted->error_offset;

		/* Of a size that the verifier knows: no more may be there. */
		value = 0;
		if (wanted->error_size == 1   ? read_user(&value, 1, from)
		    : wanted->error_size == 2 ? read_user(&value, 2, from)
		    : wanted->error_size == 4 ? read_user(&value, 4, from)
					      : read_user(&value, 8, from))
			return false;
	} else {
		value >>= 8 * (wanted->error_offset & 7);
	}
	if (bits < 64)
		value &= (1ULL << (bits & 63)) - 1;
	sign = 1ULL << ((bits - 1) & 63);
	switch (wanted->error_kind) {
	case ERROR_NEGATIVE:
		return value & sign;
	case ERROR_EQUAL:
		return value == wanted->error_value;
	case ERROR_UNEQUAL:
		return value != wanted->error_value;
	default:
		return false;
	}
}

/* Whether the call has failed, by what it returns; of Go's errors their two words too. */
INLINE bool returned_error(const struct pt_regs *regs, const struct function_values *wanted,
			   __u64 stack_pointer, __u64 *error)
{
	error[0] = error[1] = 0;
	if (wanted->error_kind == ERROR_NONE)
		return false;
	if (wanted->error_kind != ERROR_INTERFACE) {
		error[0] = tells_error(regs, wanted);
	} else if (wanted->error_place == VALUE_REGISTERS) {
		error[0] = ARGUMENT(regs, wanted->error_at);
		error[1] = ARGUMENT(regs, wanted->error_at + 1);
	} else if (wanted->error_place == VALUE_STACK) {
		if (read_user(error, 2 * sizeof(__u64), stack_pointer + 8 + wanted->error_at))
			error[0] = 0;
	}
	return error[0] != 0;
}

/* What is read at a return: results, the error, the stack. Returns whether the call has values. */
INLINE bool read_results(const struct pt_regs *regs, const struct function_values *wanted,
			 __u64 span_id, __u64 bias, __u64 stack_pointer, const __u64 *error)
{
	__u64 type;

	if (!error[0] && !wanted->results && !wanted->stack_trace)
		return false;
	if (!need_values(regs, stack_pointer, span_id, bias))
		return false;
	for (__u64 i = 0; i < MAX_VALUES; i++) {
		if (i >= wanted->results)
			break;
		read_value(span_id, wanted->first + wanted->arguments + i, wanted->arguments + i);
	}
	if (error[0] && wanted->error_plan &&
	    (settings.error_text || wanted->error_kind == ERROR_NEGATIVE))
		read_value(span_id, wanted->first + wanted->arguments + wanted->results,
			   SPECIAL_RESULT_ERROR);
	/* The type is the second word of the itab. */
	if (error[0] && wanted->error_kind == ERROR_INTERFACE &&
	    !read_user(&type, sizeof(type), error[0] + 8))
		read_error(span_id, type - bias, error[1], SPECIAL_RESULT_ERROR);
	if (wanted->stack_trace)
		read_stack(span_id, stack_pointer, FRAME_POINTER(regs));
	return true;
}

#endif
