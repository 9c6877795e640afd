/*
 * Publishes as OTEP 4947 says, or with -DELASTIC as Elastic's agents do. -DBY_FLAG: one record for
 * each thread, made valid and invalid; else there are two in turn. -DSEGMENT=N makes the TLS
 * segment larger than what the loader has room for beside those of the start; -DALIGNMENT=N aligns
 * it.
 */
#include "publish.h"

#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#define FENCE() atomic_signal_fence(memory_order_seq_cst)

#ifndef SEGMENT
#define SEGMENT 8
#endif
#ifndef ALIGNMENT
#define ALIGNMENT 8
#endif
static __thread char before[SEGMENT] __attribute__((aligned(ALIGNMENT)));

#ifdef ELASTIC

struct __attribute__((packed)) record {
    unsigned short minor;
    unsigned char valid, present, flags;
    unsigned char trace_id[16], span_id[8], transaction_id[8];
};

__thread void *elastic_apm_profiling_correlation_tls_v1;
#define VARIABLE elastic_apm_profiling_correlation_tls_v1

static __thread struct record record;

void publish(const struct context *context) {
    before[0]++;
    record.minor = 1;
    record.valid = 0;
    FENCE();
    VARIABLE = &record;
    FENCE();
    record.present = context != NULL;
    if (context) {
        memcpy(record.trace_id, context->trace_id, 16);
        memcpy(record.span_id, context->span_id, 8);
        memset(record.transaction_id, 0xee, 8);
        record.flags = context->flags;
    }
    FENCE();
    record.valid = 1;
}

#else

struct __attribute__((packed, aligned(2))) record {
    unsigned char trace_id[16], span_id[8];
    unsigned char valid, flags;
    unsigned short attributes_size;
    unsigned char attributes[6];
};

__thread struct record *otel_thread_ctx_v1;
#define VARIABLE otel_thread_ctx_v1

static __thread struct record records[2];
static __thread unsigned turn;

static void fill(struct record *record, const struct context *context) {
    memcpy(record->trace_id, context->trace_id, 16);
    memcpy(record->span_id, context->span_id, 8);
    record->flags = context->flags;
    record->attributes_size = sizeof(record->attributes);
    memcpy(record->attributes, "\0\4/abc", 6);
}

void publish(const struct context *context) {
    before[0]++;
#ifdef BY_FLAG
    struct record *record = &records[0];

    ((volatile struct record *)record)->valid = 0;
    FENCE();
    VARIABLE = record;
    if (!context)
        return;
    fill(record, context);
    FENCE();
    ((volatile struct record *)record)->valid = 1;
#else
    struct record *record = &records[turn++ & 1];

    if (!context) {
        VARIABLE = NULL;
        return;
    }
    fill(record, context);
    record->valid = 1;
    FENCE();
    VARIABLE = record;
#endif
}

#endif

void *published_variable(void) { return &VARIABLE; }
