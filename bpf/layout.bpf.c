// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/*
 * Names every struct and enum of records.h, so that one object's BTF holds them all.
 * Compiled for scripts/generate-records.mjs; never loaded.
 */
#include "records.h"

struct layout {
	enum site_kind site_kind;
	enum site_condition site_condition;
	enum context_place context_place;
	enum context_source context_source;
	enum context_wraps context_wraps;
	enum parent_kind parent_kind;
	enum call_end call_end;
	enum lost_reason lost_reason;
	enum wait_kind wait_kind;
	enum waits_known waits_known;
	enum watched watched;
	enum schedule_event schedule_event;
	enum gc_phase gc_phase;
	enum gc_event gc_event;
	enum value_kind value_kind;
	enum value_place value_place;
	enum value_state value_state;
	enum special_value special_value;
	enum error_text_kind error_text_kind;
	enum error_kind error_kind;
	enum record_kind record_kind;
	enum process_event process_event;
	enum thread_context_format thread_context_format;
	struct call_record call_record;
	struct program_span_record program_span_record;
	struct span_attribute_record span_attribute_record;
	struct tracer_record tracer_record;
	struct waits waits;
	struct waits_record waits_record;
	struct waker waker;
	struct wait_record wait_record;
	struct gc_record gc_record;
	struct process_record process_record;
	struct call_values call_values;
	struct value_plan value_plan;
	struct value_header value_header;
	struct error_text error_text;
	struct function_values function_values;
	struct site site;
	struct allocation_key allocation_key;
	struct allocation_stack allocation_stack;
	struct allocation_rest allocation_rest;
	struct http_key http_key;
	struct http_requests http_requests;
	struct file_key file_key;
	struct hold_name hold_name;
	struct statistics statistics;
	struct settings settings;
	struct stack_key stack_key;
	struct inherited inherited;
	struct open_panic open_panic;
	struct stack stack;
	struct own_stack own_stack;
	struct thread_stack thread_stack;
	enum site_flag site_flag;
	enum trampoline_verdict trampoline_verdict;
	enum governed governed;
	struct span_key span_key;
	struct started_span started_span;
	struct thread_context_place thread_context_place;
	struct target target;
	struct target_facts target_facts;
	struct hit_sample hit_sample;
	struct context_type context_type;
	struct process_settings process_settings;
	struct learned learned;
};

struct layout *layout;
