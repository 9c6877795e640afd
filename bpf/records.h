// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/*
 * Everything that crosses between the kernel and user space, and nothing else.
 * This is the only description of the format: the TypeScript side is generated
 * from the BTF of the compiled objects (scripts/generate-records.mjs).
 * Padding is explicit, sizes are asserted, nothing is packed. All times are
 * nanoseconds of CLOCK_MONOTONIC. Trace and span ids are bytes in wire order.
 */
#ifndef UNDERSPAN_RECORDS_H
#define UNDERSPAN_RECORDS_H

#include <linux/types.h>

/* Limits. A deeper call is counted (LOST_TOO_DEEP), never guessed at. */
#define MAX_OPEN_PANICS 4	/* panics in progress at once on one goroutine; a power of two */
#define MAX_OPEN_CALLS 16	/* traced calls open at once on one stack; a power of two */
#define MAX_OWN_STACKS 512	/* places for stacks that threads were started with */
#define MAX_PROGRAM_SPANS 8	/* SDK spans open at once on one goroutine; a power of two */
#define MAX_SPAN_TYPES 8	/* Go types that may sit in a context as the current span */
#define MAX_CONTEXT_HOPS 100	/* upper bound of settings.max_hops */
#define MAX_SPAN_NAME 64
#define MAX_SPAN_ATTRIBUTES 128	/* of one span of the SDK that are looked at */
#define MAX_ATTRIBUTE_NAMES 4	/* attributes of the SDK's spans that decide about trees */
#define MAX_ATTRIBUTE_TEXT 64	/* of a name, less its end, and of a value; a power of two */
#define NO_SPAN_CONTEXT 65535	/* span_type.context_offset of a span that never has one */
#define MAX_VALUES 32		/* values read from one call, arguments and results together */
#define MAX_VALUE_PATH 6	/* pointers followed to one value */
#define MAX_VALUE_BYTES 256	/* of one value's text, elements or plain bytes; a power of two */
#define MAX_CALL_BYTES 2048	/* of all values of one call, with their headers */
#define MAX_STACK_FRAMES 32
#define MAX_ALLOCATION_STACKS 4096	/* of a rule's programs, that are told apart */
#define MAX_ALLOCATION_FRAMES 32	/* of one of them; a power of two */
#define MAX_TARGET_MODULES 8	/* modules of one process that are probed; a power of two */
#define HISTOGRAM_BUCKETS 128	/* four an octave, from 2^6 ns on */
#define HISTOGRAM_FIRST_OCTAVE 6

/* What a site is for. */
enum site_kind {
	SITE_ENTRY = 1,		/* a traced function begins */
	SITE_RETURN = 2,	/* a traced function ends: a ret, or a jump out of the function */
	SITE_COPYSTACK = 3,	/* runtime.copystack(gp): gp's stack moves */
	SITE_GOEXIT = 4,	/* runtime.goexit1: the goroutine ends */
	SITE_RECOVERY = 5,	/* the call of gogo in runtime.recovery: frames above gobuf.sp are gone */
	SITE_SPAN_START = 6,	/* the call of context.WithValue by which the SDK puts a span in a context */
	SITE_SPAN_STARTED = 7,	/* a ret of (*tracer).Start: context in AX, BX, span in CX, DI */
	SITE_SPAN_END = 8,	/* End of an SDK span: receiver in AX */
	SITE_GO_STATEMENT = 9,	/* the call of runqput in runtime.newproc's closure: new g in BX, on g0 */
	SITE_PANIC = 10,	/* runtime.gopanic(any): a panic begins */
	SITE_FATAL = 11,	/* runtime.fatalpanic: nobody recovers it, the process ends */
	SITE_HTTP_STATUS = 12,	/* WriteHeader of an HTTP response: the status is in BX */
	SITE_SWITCH_STACK = 13,	/* swapcontext, setcontext: the ucontext_t is argument word context_at */
	SITE_CATCH = 14,	/* an exception is caught: what lies deeper than here is over */
	SITE_LIBRARIES = 15,	/* the dynamic linker has changed what is mapped */
	SITE_BOTH = 16,		/* a traced function that is a single ret or jump: it begins and ends */
	SITE_LONG_JUMP = 17,	/* longjmp: the jmp_buf is argument word context_at */
	SITE_PARK = 18,		/* runtime.gopark: the goroutine begins to wait, for the reason in CX */
	SITE_READY = 19,	/* g in AX has waited enough, and waits for a processor; on g0 */
	SITE_YIELD = 20,	/* g in AX gives up its processor, or has come back from a system call without one; on g0 */
	SITE_RUN = 21,		/* g in AX goes on; on g0 */
	SITE_STOP = 22,		/* g in AX stops: the collector wants to see its stack, or it lets a coroutine run; on g0 */
	SITE_SWITCH = 23,	/* the call of gogo in runtime.coroswitch_m: gobuf.g, a coroutine, goes on; on g0 */
	SITE_COROUTINE_END = 24, /* g in AX, which was a coroutine, ends; on g0 */
	SITE_GC_STOP = 32,	/* the collector stops the world, for the enum gc_phase context_at */
	SITE_GC_START = 33,	/* a stop of the world is over, whoever stopped it: of the collector's it took BX ns if context_at is 1, and if it is 0 it ends now */
	SITE_GC_LIVE = 34,	/* the collector has found BX bytes to be alive */
	SITE_GC_GOAL = 35,	/* the heap may grow to the bytes of argument word context_at */
	SITE_GC_END = 36,	/* a cycle ends with the pause that ends next, or if context_at is 0 ends now */
	SITE_ASSIST = 37,	/* runtime.gcAssistAlloc: the goroutine does work of the collector's */
	SITE_ASSIST_END = 38,	/* a ret of it */
	SITE_REFILL = 39,	/* BX bytes are set aside for the goroutine to allocate from */
	SITE_SAMPLE_RATE = 40,	/* an allocation is one of those that are profiled, at a rate of AX bytes */
	SITE_SAMPLE = 41,	/* the same allocation: its size is argument word context_at */
};

/* What else is known of a site. */
enum site_flag {
	SITE_FLAG_ENTRY_ONLY = 1,	/* returns of this function are not seen */
	SITE_FLAG_PLAIN_RETURN = 2,	/* a ret of one byte */
	SITE_FLAG_CLOSED = 4,	/* its calls count no more; those that are open may end */
};

/* When a hit at the site counts. */
enum site_condition {
	CONDITION_ALWAYS = 0,
	CONDITION_ABOVE = 1,	/* a jbe that is not taken: neither CF nor ZF */
	CONDITION_MAY_REPEAT = 2,	/* always, and perhaps again for one call: its stack grows and it begins anew */
	CONDITION_TAKEN = 16,	/* a jcc that is taken; plus its condition code, the low four bits of its opcode */
};

/* Where the traced function's own context is at its entry. */
enum context_place {
	CONTEXT_NOWHERE = 0,
	CONTEXT_REGISTERS = 1,		/* context.Context: argument words context_at and context_at + 1 */
	CONTEXT_STACK = 2,		/* the same at SP + 8 + context_at */
	CONTEXT_REQUEST_REGISTER = 3,	/* *http.Request: argument word context_at */
	CONTEXT_REQUEST_STACK = 4,	/* the same at SP + 8 + context_at */
	CONTEXT_SEARCH = 5,		/* perhaps: bit n of context_at, if argument word n is the itab of a context */
};

/* How a call's context was found. Also the source of a root: none, or unreadable. */
enum context_source {
	SOURCE_NONE = 0,
	SOURCE_GO_CONTEXT = 1,	/* go.context */
	SOURCE_GO_SDK = 2,	/* go.sdk */
	SOURCE_UNREADABLE = 3,
	SOURCE_GO_GOROUTINE = 4,/* go.goroutine: the program's span where the goroutine was started */
	SOURCE_GO_LABELS = 5,	/* go.labels: the goroutine's pprof labels */
	SOURCE_THREAD = 6,	/* thread: what the thread publishes */
};

/* Whose span a call's parent is. */
enum parent_kind {
	PARENT_NONE = 0,
	PARENT_PROGRAM = 1,	/* of the program's own SDK */
	PARENT_CALL = 2,	/* ours: the traced call around it */
};

/* How a call ended. */
enum call_end {
	END_RETURNED = 0,
	END_PANICKED = 1,	/* unwound by a panic: recovered further up, or fatal */
	END_EXITED = 2,		/* its goroutine or thread exited */
	END_UNWOUND = 3,	/* its frame is gone: an exception, longjmp, or a stack that was given up */
};

/* Why a call made no span, as far as the kernel decides it. */
enum lost_reason {
	LOST_TOO_SHORT = 0,	/* shorter than settings.min_duration */
	LOST_UNSAMPLED = 1,	/* the program's own trace is not sampled */
	LOST_SAMPLED_OUT = 2,	/* settings.sample_threshold */
	LOST_RATE = 3,		/* settings.tree_interval */
	LOST_ROOTLESS = 4,	/* no context was found, and roots are not wanted */
	LOST_TOO_DEEP = 5,	/* more than MAX_OPEN_CALLS open on the stack */
	LOST_UNREADABLE = 6,	/* memory of the target could not be read */
	LOST_RING_FULL = 7,
	LOST_TABLE_FULL = 8,	/* no room for another stack */
	LOST_UNPAIRED = 9,	/* its frame was gone, and nothing said how */
	LOST_ENTRY_ONLY = 10,	/* returns are not watched */
	LOST_GOVERNOR = 11,	/* it would have cost more than the budget */
	LOST_REASONS = 12,
};

/* What a goroutine or a thread waits for, while it does not run. */
enum wait_kind {
	WAIT_RUNNABLE = 0,	/* a processor */
	WAIT_THROTTLED = 1,	/* its control group has used up its share of the processors */
	WAIT_MUTEX = 2,		/* sync.Mutex, sync.RWMutex */
	WAIT_SEMAPHORE = 3,	/* another semaphore of Go's runtime; up to Go 1.19 mutexes too */
	WAIT_CONDITION = 4,	/* sync.Cond, sync.WaitGroup */
	WAIT_CHANNEL_RECEIVE = 5,
	WAIT_CHANNEL_SEND = 6,
	WAIT_SELECT = 7,
	WAIT_NETWORK = 8,	/* Go's network poller; of threads, system calls that wait for it */
	WAIT_SLEEP = 9,
	WAIT_GC_ASSIST = 10,	/* the garbage collector is owed work */
	WAIT_FUTEX = 11,	/* of threads: a lock, or a condition */
	WAIT_IO = 12,		/* a disk */
	WAIT_PAGE_FAULT = 13,
	WAIT_SYSTEM_CALL = 14,	/* any other */
	WAIT_OTHER = 15,
	WAIT_KINDS = 16,
};

/* Why the garbage collector stops the world. */
enum gc_phase {
	GC_SWEEP_TERMINATION = 1,	/* a cycle begins */
	GC_MARK_TERMINATION = 2,	/* it ends, unless there is more to mark */
};

enum gc_event {
	GC_PAUSE_BEGINS = 1,
	GC_PAUSE_ENDS = 2,
	GC_CYCLE_ENDS = 3,	/* with a pause */
};

#define MAX_WAIT_REASONS 64	/* Go's runtime numbers its reasons; a power of two */

/* What the governor has done to a function, by its number; bits. */
enum governed {
	GOVERNED_THINNED = 1,	/* its calls begin no trees: they are only counted */
	GOVERNED_WITHDRAWN = 2,	/* its probes are taken back, or about to be */
	GOVERNED_TWICE = 4,	/* while links are replaced two programs see each hit */
	GOVERNED_COUNTED = 8,	/* the probes at its returns are taken back, or about to be */
	GOVERNED_UNWATCHED = 16,	/* what its calls wait for, and allocate, is not looked at */
};

#define GOVERNED_CHANGES_SHIFT 8	/* the bits above say how often its returns came to be unseen, or seen again */

/* What a value is, and so how it is read once its words are at hand. */
enum value_kind {
	VALUE_PLAIN = 1,	/* `size` bytes */
	VALUE_STRING = 2,	/* pointer, length: up to `limit` bytes of text, or of a []byte */
	VALUE_SLICE = 3,	/* pointer, length, capacity: up to `limit` bytes of elements of `size` bytes */
	VALUE_MAP = 4,		/* pointer to a map whose first word is its length */
	VALUE_INTERFACE = 5,	/* type word, data: the dynamic type */
	VALUE_HIDDEN = 6,	/* not read, since it may be a secret */
	VALUE_CSTRING = 7,	/* pointer to text that ends with a zero: up to `limit` bytes of it */
	VALUE_LIBCXX_STRING = 8,	/* std::string of libc++, in memory; see read_libcxx_string() */
};

/* Where the way to a value begins. */
enum value_place {
	VALUE_REGISTERS = 1,	/* integer register `at` of the ABI, and those that follow it */
	VALUE_STACK = 2,	/* SP + 8 + at */
};

enum value_state {
	VALUE_READ = 0,
	VALUE_CUT = 1,		/* longer than its limit */
	VALUE_NIL = 2,		/* the value, or a pointer on the way to it */
	VALUE_UNREADABLE = 3,
	VALUE_NO_ROOM = 4,	/* MAX_CALL_BYTES are full */
};

/*
 * How to read one value of a function at its entry or its returns. Without a path the words of
 * the value are the registers themselves. Else the address is the register, or that stack place;
 * each step of the path adds its number, and all but the last then load the pointer that is there.
 */
struct value_plan {
	__u8 kind;	/* enum value_kind */
	__u8 place;	/* enum value_place */
	__u8 steps;	/* numbers of `path` in use */
	__u8 has_methods;	/* VALUE_INTERFACE: the type word is an itab, as in all but `any` */
	__u16 at;
	__u16 size;	/* VALUE_PLAIN: bytes, at most MAX_VALUE_BYTES; VALUE_SLICE: of one element */
	__u32 limit;	/* most bytes of text or elements, at most MAX_VALUE_BYTES; of an interface: not 0 if it is an error whose text is wanted */
	__u32 path[MAX_VALUE_PATH];
	__s32 length_at;	/* VALUE_STRING, VALUE_SLICE: bytes from the pointer to the length; of 8 each in registers */
};
_Static_assert(sizeof(struct value_plan) == 40, "value_plan");

/* Behind a call_record: values_count of these, each followed by its bytes, padded to 8. */
struct value_header {
	__u8 index;	/* of its value_plan among the function's; or enum special_value */
	__u8 state;	/* enum value_state */
	__u16 size;	/* bytes that follow, without padding */
	__u32 pad;
	__u64 length;	/* of the string, slice or map as the program has it */
	__u64 type;	/* dynamic type of an interface, as the module's file numbers it; 0: none */
};
_Static_assert(sizeof(struct value_header) == 24, "value_header");

/* value_header.index of what no value_plan asks for. */
enum special_value {
	SPECIAL_STACK_TRACE = 253,	/* return addresses in the module, innermost first, 8 bytes each */
	SPECIAL_PANIC = 254,		/* what the panic that unwound the call was called with */
	SPECIAL_RESULT_ERROR = 255,	/* the error that the call returned: sets its status */
};

/* How to find the text of an error, by its dynamic type (address in the module). */
enum error_text_kind {
	ERROR_TEXT_STRING = 1,	/* a string at `offset` of what the data word points to */
	ERROR_TEXT_PLAIN = 2,	/* no text: `offset` bytes of what the data word points to, such as a number */
};

struct error_text {
	__u32 kind;	/* enum error_text_kind */
	__u32 offset;
};

/* When the result of a call says that it has failed. */
enum error_kind {
	ERROR_NONE = 0,
	ERROR_INTERFACE = 1,	/* Go's type error: it is not nil */
	ERROR_NEGATIVE = 2,	/* it is below zero */
	ERROR_EQUAL = 3,	/* it is error_value: NULL, or the discriminant of an Err */
	ERROR_UNEQUAL = 4,	/* it is not */
};

/* Where the values of a function are; one for each, as in `statistics` without its shards. */
struct function_values {
	__u32 first;		/* index into value_plans */
	__u8 arguments;		/* plans from `first` on that are read at the entry */
	__u8 results;		/* plans after those, read at a return */
	__u8 error_place;	/* enum value_place of what tells of an error */
	__u8 stack_trace;
	__u16 error_at;		/* as in struct value_plan */
	__u8 http_handler;	/* its calls are HTTP requests */
	__u8 error_kind;	/* enum error_kind */
	__u8 error_size;	/* bytes of it: 1, 2, 4 or 8; but for ERROR_INTERFACE */
	__u8 error_in_memory;	/* the register holds the address of the result */
	__u8 error_plan;	/* one more plan after the results is read of a call that failed */
	__u8 pad;
	__u32 error_offset;	/* bytes into the register or the result */
	__u32 pad2;
	__u64 error_value;	/* ERROR_EQUAL, ERROR_UNEQUAL */
};
_Static_assert(sizeof(struct function_values) == 32, "function_values");

enum record_kind {
	RECORD_CALL = 1,
	RECORD_PROGRAM_SPAN = 2,
	RECORD_PROCESS = 3,
	RECORD_TRACER = 4,
	RECORD_WAITS = 5,
	RECORD_WAIT = 6,
	RECORD_GC = 7,
	RECORD_SPAN_ATTRIBUTE = 8,
};

enum process_event {
	PROCESS_FORKED = 1,
	PROCESS_EXECUTED = 2,
	PROCESS_EXITED = 3,
	PROCESS_MAPPED = 4,	/* its dynamic linker has mapped or unmapped libraries */
};

/* Every record begins with this; size counts the header too and is a multiple of 8. */
struct record_header {
	__u32 kind;	/* enum record_kind */
	__u32 size;
};

/* A file as the kernel knows it, which need not be as stat(2) tells it (overlayfs). */
struct file_key {
	__u64 device;
	__u64 inode;
	__u64 changed_ns; /* its ctime: a file that is new or written anew has another */
};

#define MAX_HOLD_NAMES 16	/* rules' executables that hold, by how their file names begin */
#define MAX_HOLD_NAME 24

/* How the file name of an executable begins whose processes are held; length 0: not in use. */
struct hold_name {
	__u32 length;
	__u8 prefix[MAX_HOLD_NAME];
	__u32 pad;
};
_Static_assert(sizeof(struct hold_name) == 32, "hold_name");

/* A closed call that is to become a span. */
struct call_record {
	struct record_header header;
	__u64 start_ns;
	__u64 end_ns;
	__u8 trace_id[16];
	__u8 span_id[8];
	__u8 parent_id[8];	/* zero: a root */
	__u8 tree_id[8];	/* span id of the tree's outermost call */
	__u64 stack;		/* with tgid the key of struct stack */
	__u64 goroutine_id;
	__u64 children_ns;	/* time in traced calls directly beneath */
	__u32 descendants;	/* traced calls beneath, at any depth */
	__u32 function;
	__u32 tgid;
	__u32 tid;
	__u32 tree_spans;	/* outermost call only: records sent for this tree, with this one */
	__u32 tree_lost;	/* outermost call only: records that did not fit the ring */
	__u8 source;		/* enum context_source */
	__u8 end;		/* enum call_end */
	__u8 trace_flags;
	__u8 depth;		/* open traced calls around it on the same stack */
	__u8 parent_kind;	/* enum parent_kind */
	__u8 failed;		/* it returned an error that is not nil */
	__u8 values_count;	/* value_headers that follow */
	__u8 waits;		/* enum waits_known */
};
_Static_assert(sizeof(struct call_record) == 120, "call_record");

/* What the programs at the kernel's scheduler are hit by. */
enum schedule_event {
	SCHEDULE_SWITCHED = 0,
	SCHEDULE_WOKEN = 1,
	SCHEDULE_EVENTS = 2,
};

/* What is known of what a call has waited for. */
enum waits_known {
	WAITS_UNKNOWN = 0,	/* nobody looked, or not all of it found room */
	WAITS_NONE = 1,		/* it has not waited */
	WAITS_TOLD = 2,		/* its waits_record came before */
};

/* How long a call, with what ran beneath it on its stack, has waited for what; and allocated. */
struct waits {
	__u64 ns[WAIT_KINDS];
	__u64 allocated;	/* bytes */
	__u64 allocations;	/* samples or spans of memory that these were seen by */
};

/* Of a call that has waited, or allocated, at all; comes before its call_record. */
struct waits_record {
	struct record_header header;
	__u8 span_id[8];
	struct waits waits;
};
_Static_assert(sizeof(struct waits_record) == 160, "waits_record");

/* Who ended a wait: of a lock, that is who held it. */
struct waker {
	__u64 goroutine_id;	/* 0: not known, or a thread has none */
	__u8 trace_id[16];	/* zero: it had no traced call open */
	__u8 span_id[8];
	__u32 function;		/* the innermost traced one; 0: none */
	__u32 tid;		/* of the thread that ended a thread's wait; else 0 */
};

/* A wait that was long enough to be told by itself; comes before the call_record of its call. */
struct wait_record {
	struct record_header header;
	__u64 start_ns;
	__u64 ready_ns;		/* what it waited for had come; 0: not known, or the same as the end */
	__u64 end_ns;
	__u8 span_id[8];	/* of the innermost call that waited */
	struct waker waker;
	__u32 kind;		/* enum wait_kind */
	__u32 ready_kind;	/* the same, of the time from ready_ns on */
};
_Static_assert(sizeof(struct wait_record) == 88, "wait_record");

/* What a process's garbage collector does. */
struct gc_record {
	struct record_header header;
	__u64 start_ns;		/* of the pause */
	__u64 end_ns;		/* 0: it begins */
	__u64 cycle_ns;		/* GC_CYCLE_ENDS: when it began; 0: not known */
	__u64 heap_live;	/* the same: bytes; 0: not known */
	__u64 heap_goal;
	__u32 tgid;
	__u8 event;		/* enum gc_event */
	__u8 phase;		/* enum gc_phase */
	__u8 pad[2];
};
_Static_assert(sizeof(struct gc_record) == 56, "gc_record");

#define ARGUMENT_WORDS 9	/* integer registers of Go's ABI */

/* What has been read from a call that is open. It goes to the ring in one piece with the record. */
struct call_values {
	__u64 words[ARGUMENT_WORDS];	/* registers, as they were at the site */
	__u64 stack_pointer;
	__u64 bias;		/* of the module */
	__u32 size;		/* bytes of `bytes` in use */
	__u32 count;
	struct call_record record;
	__u8 bytes[MAX_CALL_BYTES + MAX_VALUE_BYTES + 32];	/* the last value may begin below MAX_CALL_BYTES */
};

/* A span of the program's own SDK that has ended, for outputs that show it. */
struct program_span_record {
	struct record_header header;
	__u64 start_ns;
	__u64 end_ns;
	__u8 trace_id[16];
	__u8 span_id[8];
	__u8 parent_id[8];
	__u64 goroutine_id;	/* of the goroutine that started it */
	__u32 tgid;
	__u16 name_size;	/* bytes of name in use; MAX_SPAN_NAME may mean cut off */
	__u8 parent_remote;	/* its parent is a span of another process */
	__u8 status;		/* codes.Code of the API: unset, error, ok; unset where it is not known */
	__u8 name[MAX_SPAN_NAME];
};
_Static_assert(sizeof(struct program_span_record) == 136, "program_span_record");

/* An attribute that such a span had when it ended; comes before its program_span_record. */
struct span_attribute_record {
	struct record_header header;
	__u8 span_id[8];
	__u64 number;		/* as attribute.Value holds it: a bool, an int64 or a float64 */
	__u32 tgid;
	__u32 name;		/* attribute_name.number; 0: one that could not be read */
	__u32 kind;		/* attribute.Type */
	__u32 length;		/* of the text as the program has it; MAX_ATTRIBUTE_TEXT: that, or more */
	__u8 text[MAX_ATTRIBUTE_TEXT];
};
_Static_assert(sizeof(struct span_attribute_record) == 104, "span_attribute_record");

/* Once a process, before the first call that its SDK's span was found for: where its tracer is. */
struct tracer_record {
	struct record_header header;
	__u64 tracer;		/* *trace.tracer of the SDK, in the target */
	__u32 tgid;
	__u32 pad;
};
_Static_assert(sizeof(struct tracer_record) == 24, "tracer_record");

struct process_record {
	struct record_header header;
	__u64 time_ns;
	struct file_key file;	/* PROCESS_EXECUTED: the executable */
	__u16 event;		/* enum process_event */
	__u16 exit_code;	/* PROCESS_EXITED: as wait(2) tells it */
	__u32 tgid;
	__u32 parent_tgid;	/* PROCESS_FORKED */
	__u32 held;		/* PROCESS_EXECUTED: it is stopped before its first instruction */
};
_Static_assert(sizeof(struct process_record) == 56, "process_record");

/*
 * A probe's cookie: the index into `sites`, and above it the generation of its link. Of two links that
 * see the same hits the newer one's is ahead; after the last comes the first.
 */
#define COOKIE_GENERATION_SHIFT 32
#define COOKIE_GENERATION_BITS 20	/* numbers in JavaScript are whole up to 2^53 */

/* One instruction that carries a probe. */
struct site {
	__u64 address;		/* in the module, as its ELF file numbers them */
	__u32 function;		/* index into `statistics`; 0 for the runtime's and the SDK's sites */
	__u8 kind;		/* enum site_kind */
	__u8 condition;		/* enum site_condition */
	__u8 context_place;	/* enum context_place */
	__u8 flags;		/* enum site_flag */
	__u16 context_at;	/* SITE_SPAN_END: index into settings.span_types */
	__u16 stack_adjustment;	/* native: from the stack pointer to the return address's place */
	__u8 called;		/* written by programs: see may_replace_return() */
	__u8 pad[3];
};
_Static_assert(sizeof(struct site) == 24, "site");

/* Where the innermost traced call allocated. */
struct allocation_key {
	__u64 frames;		/* hash of them */
	__u32 function;		/* of that call */
	__u32 pad;
};
_Static_assert(sizeof(struct allocation_key) == 16, "allocation_key");

struct allocation_stack {
	__u64 bytes;
	__u64 samples;		/* as in struct waits */
	__u32 count;		/* frames in use */
	__u32 cut;		/* the traced function is not the last of them */
	__u64 frames[MAX_ALLOCATION_FRAMES];	/* return addresses in the module, innermost first, down to the traced function */
};
_Static_assert(sizeof(struct allocation_stack) == 280, "allocation_stack");

/* What found no room among those. */
struct allocation_rest {
	__u64 bytes;
	__u64 samples;
};

#define HTTP_BUCKETS 16		/* 15 in use, the last for what is longer than 10 s; a power of two */
#define HTTP_METHOD_UNKNOWN 1	/* http_key.method where it could not be read */
#define HTTP_METHOD_OTHER 2	/* where it is longer than any standard one */

/* Requests of one handler that ended alike. */
struct http_key {
	__u64 method;		/* its text, up to 7 bytes, or HTTP_METHOD_* */
	__u32 function;
	__u32 status;		/* 0: not known */
};
_Static_assert(sizeof(struct http_key) == 16, "http_key");

struct http_requests {
	__u64 sum_ns;
	__u64 buckets[HTTP_BUCKETS];	/* not cumulative */
};

/* Exact counts of one function in one shard. Durations and losses are of calls. */
struct statistics {
	__u64 calls;		/* entries */
	__u64 returns;		/* of those, calls whose end was seen */
	__u64 errors;
	__u64 spans;		/* records sent */
	__u64 unpaired_returns;	/* returns of calls that began before the session */
	__u64 contexts_unreadable;	/* calls whose context could not be read */
	__u64 values_lost;	/* calls whose values found no room while they were open */
	__u64 waits_lost;	/* calls of which it should be known what they waited for, and is not */
	__u64 watched_calls;	/* calls of which it is known, or what they allocated: others add to neither */
	__u64 contexts_truncated;	/* of those, with more than max_hops wrappers around it */
	__u64 foreign;		/* hits in the kernel that are no call: in interrupts, or for a probe */
	__u64 total_ns;
	__u64 self_ns;
	__u64 max_ns;
	__u64 inverse_min_ns;	/* ~minimum, so that zero means none */
	__u64 waited_ns[WAIT_KINDS];	/* by enum wait_kind, with what ran beneath */
	__u64 allocated;	/* bytes, with what ran beneath */
	__u64 allocations;	/* as in struct waits */
	__u64 lost[LOST_REASONS];
	__u64 histogram[HISTOGRAM_BUCKETS];
};

/* A Go type that may be the value of the current span's key in a context. */
struct span_type {
	__u64 type;		/* address of the runtime type in the module */
	__u16 context_offset;	/* of the SpanContext in the value */
	__u16 name_offset;	/* of its name; 0: has none */
	__u16 parent_offset;	/* of its parent's SpanContext; 0: has none */
	__u16 tracer_offset;	/* of the tracer that made it; 0: has none */
	__u16 remote_offset;	/* of whether its parent is another process's; 0: not known */
	__u16 status_offset;	/* of its status; 0: not known */
	__u16 attributes_offset;/* of its attributes; 0: not known */
	__u16 pad;
};

/* The name of an attribute; size 0: not in use. */
struct attribute_name {
	__u8 text[MAX_ATTRIBUTE_TEXT];	/* zeros behind it */
	__u32 size;
	__u32 number;		/* by which user space knows it */
};

/* Constant for one loaded module: set between open and load, so that dead branches vanish. */
struct settings {
	__u64 min_duration_ns;
	__u64 sample_threshold;	/* 56 bits; a trace is kept if its last 7 bytes are not below it */
	__u64 tree_interval_ns;	/* ns between trees at the rate wanted; 0: no limit */
	__u64 tree_burst_ns;	/* how far ahead of the rate a burst may run */
	__u64 seed;
	__u64 first_function;	/* index into `statistics` of the module's first */
	__u64 value_itab;	/* itab of *context.valueCtx as a context.Context; 0: none */
	__u64 key_type;		/* runtime type of trace.traceContextKeyType; 0: learned */
	__u64 context_interface;/* runtime type of context.Context; 0: none */
	struct span_type span_types[MAX_SPAN_TYPES];	/* unused ones have type 0 */
	struct attribute_name attribute_names[MAX_ATTRIBUTE_NAMES];	/* sent with program spans */
	__u32 shard_mask;	/* statistics has shard_mask + 1 elements a function */
	__u32 goid_offset;	/* in runtime.g */
	__u32 labels_offset;	/* the same; 0: labels are not looked at */
	__u32 current_offset;	/* of curg in runtime.m */
	__u32 request_context;	/* offset of ctx in http.Request */
	__u32 max_hops;
	__u32 attachment;	/* number of the module's programs, as targets name it */
	__u32 return_distance;	/* kernel: how far the stack pointer at a return lies from that at the entry */
	__u8 position_independent;
	__u8 filter_targets;	/* a hit counts only if its process is a target of this attachment */
	__u8 has_cookies;
	__u8 perf_buffers;	/* records leave by perf buffers, not by the ring */
	__u8 roots;
	__u8 unsampled;
	__u8 entry_only;
	__u8 program_spans;	/* send RECORD_PROGRAM_SPAN */
	__u8 labels_are_map;	/* Go up to 1.23 */
	__u8 values;		/* values are read from some of the functions */
	__u8 error_text;	/* texts of errors and panics too, not only their types */
	__u8 never;		/* 0, which the compiler does not know */
	__u8 finds_mappings;	/* bpf_find_vma is there */
	__u8 writes_registers;	/* uprobe programs may write registers: ours, and those of others */
	__u8 emulate_returns;	/* ours do, where a call returns */
	__u8 arguments;		/* kernel, by fentry: how many arguments the function has */
	__u8 has_sessions;	/* returns may be seen through trampolines */
	__u8 trampolines;	/* in every process, whatever `trampolines` says of it */
	__u8 waits;		/* what calls wait for is looked at */
	__u8 gc;		/* what the garbage collector does is told */
	__u8 allocations;	/* what calls allocate is looked at */
	__u8 keeps_waits;	/* it may be of calls of any module of the session, or what they wait for */
	__u8 allocation_stacks;	/* and where in the code that is */
	__u8 pad[1];
	__u64 min_wait_ns;	/* shorter waits are not told by themselves */
	__u8 wait_kinds[MAX_WAIT_REASONS];	/* enum wait_kind, by the reason that gopark is given */
};

/* Key of a stack: a goroutine's g, or where a thread's stack ends. */
struct stack_key {
	__u64 stack;
	__u32 tgid;
	__u32 pad;
};

/* What is looked at of a call while it is open. */
enum watched {
	WATCHED_WAITS = 1,
	WATCHED_ALLOCATIONS = 2,
};

/* A traced call whose end has not been seen. */
struct open_call {
	__u64 start_ns;
	__u64 offset;		/* from the stack's top to the return address */
	__u64 bias;		/* of its module, as its entry's address gives it */
	__u8 trace_id[16];
	__u8 span_id[8];
	__u8 parent_id[8];
	__u8 context_id[8];	/* span id of the context that it, or the call around it, had found */
	__u64 children_ns;
	__u32 descendants;
	__u32 function;
	__u32 tree_spans;
	__u32 tree_lost;
	__u8 tree;		/* index of its tree's outermost call */
	__u8 source;		/* enum context_source */
	__u8 trace_flags;
	__u8 dropped;		/* 1 + enum lost_reason if its tree makes no spans, else 0 */
	__u8 parent_kind;	/* enum parent_kind */
	__u8 has_values;	/* an element of `call_values` is, or was, its own */
	__u16 http_status;	/* 0: not set yet */
	__u64 http_method;	/* as in struct http_key; 0: no HTTP request */
	__u32 changes;		/* of its function when it began, see GOVERNED_CHANGES_SHIFT */
	__u8 has_waits;		/* an element of `call_waits` is, or was, its own */
	__u8 watched;		/* bits of enum watched, for its own sake or that of a call around it */
	__u8 lost_waits;	/* of that, or of what ran beneath, not all found room */
	__u8 pad;
};
_Static_assert(sizeof(struct open_call) == 112, "open_call");

/* A span that the SDK started on a goroutine. */
struct program_span {
	__u64 pointer;		/* the span in the target; 0: ended */
	__u64 start_ns;
	__u8 trace_id[16];
	__u8 span_id[8];
	__u8 trace_flags;
	__u8 pad[7];
};
_Static_assert(sizeof(struct program_span) == 48, "program_span");

/* The program's span that a goroutine has without having started one itself. */
struct inherited {
	__u64 goroutine_id;	/* whose it is, since the address of a g is used again */
	__u8 trace_id[16];
	__u8 span_id[8];
	__u8 trace_flags;
	__u8 source;		/* enum context_source: go.goroutine, go.labels, none or unreadable */
	__u8 pad[6];
};

/* A call of panic that has not been recovered. */
struct open_panic {
	__u64 offset;		/* as in struct open_call */
	__u64 type;		/* of its value, as the module's file numbers it */
	__u64 data;
};

/* All that is known of a stack, a goroutine's or a thread's, while something runs on it. */
struct stack {
	__u64 id;		/* of the goroutine; 0 where none has an id of its own */
	__u64 stack_hi;		/* of a goroutine; 0: to be read anew */
	__u32 depth;		/* open calls */
	__u32 span_count;	/* program spans started and not yet popped; the newest is at (span_count - 1) % MAX_PROGRAM_SPANS */
	__u32 spans_hidden;	/* open program spans that newer ones took the places of */
	__u32 panic_count;	/* the newest is at (panic_count - 1) % MAX_OPEN_PANICS */
	__u64 low;		/* of a thread's own stack, while it is on it: what lies between these */
	__u64 high;		/* is on it. 0: look at its struct thread_stack */
	__u32 attachment;	/* whose target the process was when last looked at, by its number */
	__u32 removals;		/* as in struct target_facts, at that time */
	__u64 bias;		/* of that attachment's module, as the last entry gave it; 0: not known */
	struct wait_record wait;	/* as it will be told; start_ns is 0 while it runs */
	__u64 assist_ns;	/* since when it has done work of the collector's; 0: it does not */
	__u64 assist_waited_ns;	/* of that it has waited */
	__u64 sample_rate;	/* of the allocation that is being profiled; 0: that of all are */
	struct open_panic panics[MAX_OPEN_PANICS];
	struct inherited inherited;	/* from the go statement that started it */
	struct inherited labels;	/* as they were when last looked at */
	struct open_call calls[MAX_OPEN_CALLS];
	struct program_span spans[MAX_PROGRAM_SPANS];
	struct call_record record;	/* where one is built that a perf buffer takes */
};

/* One that a thread was started with: an element for it alone, see own_stacks.bpf.h. */
struct own_stack {
	__u64 key;		/* as in struct stack_key; 0: none, or not complete */
	__u32 tgid;
	__u32 taken;		/* 0: free */
	struct stack stack;
};

/* A span of the SDK by its address, to find it where it ends and to know its age. */
struct span_key {
	__u64 pointer;
	__u32 tgid;
	__u32 pad;
};

struct started_span {
	__u64 start_ns;
	__u64 stack;		/* goroutine that started it */
	__u64 goroutine_id;
	__u8 span_id[8];
	__u32 ended;
	__u32 pad;
};

/* What the variable that a thread publishes its context by points to. */
enum thread_context_format {
	THREAD_CONTEXT_NONE = 0,
	THREAD_CONTEXT_OTEL = 1,	/* OTEP 4947 */
	THREAD_CONTEXT_ELASTIC = 2,	/* of Elastic's agents */
};

/* Where each thread of a process has that variable. */
struct thread_context_place {
	__s64 offset;		/* from the thread pointer; with a module, in its TLS segment */
	__u32 module;		/* its number in the thread's table of segments (DTV); 0: not by it */
	__u8 format;		/* enum thread_context_format */
	__u8 entry_size;	/* of that table: 16 in glibc, 8 in musl */
	__u8 pad[2];
};
_Static_assert(sizeof(struct thread_context_place) == 16, "thread_context_place");

/* A module of a target, with whose attachment it is probed. */
struct target_module {
	__u64 bias;		/* address of the module's lowest segment in memory, less that in the file */
	__u32 attachment;	/* whose hits count, where one probe serves all processes; 0: none */
	__u32 pad;
};

/* A process whose hits count; key is its tgid. */
struct target {
	struct target_module modules[MAX_TARGET_MODULES];
	struct thread_context_place thread_context;
	__u8 follow_forks;	/* its children are targets from their first instruction */
	__u8 pad;
	__u16 current_offset;	/* Go: of curg in runtime.m */
	__s32 g_offset;		/* Go: of a thread's g from its thread pointer; 0: not known */
};
_Static_assert(sizeof(struct target) == 152, "target");

/* What is true of all targets. */
struct target_facts {
	__u32 publishers;	/* threads of some publish contexts: until then nobody need look for any */
	__u32 removals;		/* changes after which a hit may count no more that counted before */
	__u32 samples_hits;	/* whose hits they are is of interest: see sample_hit() */
	__u32 pad;
	__u64 watched_since;	/* at some time before, open calls were not looked at, CLOCK_MONOTONIC */
};

#define HIT_SAMPLES 4096	/* that are kept at once; a power of two */
#define HIT_SAMPLE_EVERY 16	/* of so many hits one is kept, by chance; a power of two */

/* One hit at which a call began, or of a site that belongs to no function. */
struct hit_sample {
	__u64 time_ns;		/* CLOCK_MONOTONIC; 0: none yet */
	__u32 tgid;
	__u32 function;		/* as in struct site */
};
_Static_assert(sizeof(struct hit_sample) == 16, "hit_sample");

/* The stack that a thread was last seen on. */
struct thread_stack {
	__u64 low;
	__u64 high;		/* first address above it */
	__u64 stack;		/* as in struct stack_key */
	__u64 own_end;		/* below it lies the stack that the thread was started with; 0: it is another */
};

/* Whether return addresses of a process may be replaced. */
enum trampoline_verdict {
	TRAMPOLINE_ASKED = 1,	/* user space looks at what it has mapped */
	TRAMPOLINE_ALLOWED = 2,	/* nothing in it looks for return addresses */
};

/* What a context of some type wraps. */
enum context_wraps {
	WRAPS_AT = 1,		/* the context.Context at parent_offset */
	WRAPS_NONE = 2,		/* none (context.Background) */
	WRAPS_UNKNOWN = 3,	/* perhaps its first field, where an embedded context usually is */
};

/* A Go type other than *context.valueCtx that implements context.Context, by its itab or type. */
struct context_type {
	__u32 parent_offset;
	__u32 wraps;		/* enum context_wraps */
};

/* Settings of processes.bpf.c. */
struct process_settings {
	__u32 shard_mask;	/* as in struct settings */
	__u8 every_exec;	/* report all execs, not only those of targets */
	__u8 perf_buffers;	/* as in struct settings */
	__u8 pad[2];
};

/* What the kernel side learned of the target's types, for one module. */
struct learned {
	__u64 key_type;
};

#endif
