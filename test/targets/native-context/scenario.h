/*
 * What every program here does on each of its threads, and what the parent of each call is. A line
 * for each call goes to the log: thread, function, parent. The parent is a span ("span" and its
 * id), an earlier call of this thread ("call" and its number), "none", or "unsampled" where there
 * is a span that is not sampled.
 */
#ifndef SCENARIO_H
#define SCENARIO_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "publish.h"

#define NOINLINE __attribute__((noinline, used))

struct thread {
    int number, rounds, calls;
    pid_t tid;
    char *log;
    size_t used, room;
};

static void note(struct thread *thread, const char *line) {
    size_t size = strlen(line);

    if (thread->used + size + 1 > thread->room) {
        thread->room = 2 * (thread->used + size + 1);
        thread->log = (char *)realloc(thread->log, thread->room);
    }
    memcpy(thread->log + thread->used, line, size + 1);
    thread->used += size;
}

/* To be called right before the call; returns its number. */
static int expect(struct thread *thread, const char *function, const char *kind,
                  const char *parent) {
    char line[160];

    snprintf(line, sizeof line, "%d %s %s %s\n", (int)thread->tid, function, kind, parent);
    note(thread, line);
    return thread->calls++;
}

static int expect_root(struct thread *thread, const char *function) {
    return expect(thread, function, "none", "-");
}

static int expect_call(struct thread *thread, const char *function, int number) {
    char parent[16];

    snprintf(parent, sizeof parent, "%d", number);
    return expect(thread, function, "call", parent);
}

static int expect_span(struct thread *thread, const char *function, const struct context *context) {
    char parent[50];
    int at = 0;

    for (int i = 0; i < 16; i++)
        at += snprintf(parent + at, sizeof parent - at, "%02x", context->trace_id[i]);
    parent[at++] = ':';
    for (int i = 0; i < 8; i++)
        at += snprintf(parent + at, sizeof parent - at, "%02x", context->span_id[i]);
    return expect(thread, function, "span", parent);
}

static struct context context_of(const struct thread *thread, int round, int trace, int span) {
    struct context context = {{0}, {0}, 1};

    memcpy(context.trace_id, &thread->tid, 4);
    memcpy(context.trace_id + 4, &round, 4);
    context.trace_id[8] = (unsigned char)(trace + 1);
    context.trace_id[15] = 0xab;
    memcpy(context.span_id, &round, 4);
    context.span_id[4] = (unsigned char)(trace + 1);
    context.span_id[5] = (unsigned char)(span + 1);
    context.span_id[7] = (unsigned char)(thread->number + 1);
    return context;
}

/* The functions that are traced, in the language of the program. */
int leaf(int n);
int outer(struct thread *thread, int round, int self, const struct context *current);
int switching(struct thread *thread, int self, const struct context *other, int restored);

/* The body of `outer`: what it publishes and calls. `self` is its own number. */
static int within_outer(struct thread *thread, int round, int self, const struct context *current) {
    struct context inner = context_of(thread, round, 0, 1);
    int sum = 0;

    /* The context that the call around had found. */
    expect_call(thread, "leaf", self);
    sum += leaf(1);
    /* One that was opened since. */
    publish(&inner);
    expect_span(thread, "leaf", &inner);
    sum += leaf(2);
    expect_span(thread, "leaf", &inner);
    sum += leaf(3);
    /* Back to what was there before. */
    publish(current);
    expect_call(thread, "leaf", self);
    sum += leaf(4);
    /* None: the call around is all there is. */
    publish(NULL);
    expect_call(thread, "leaf", self);
    sum += leaf(5);
    publish(current);
    return sum;
}

/* The body of `switching`: another context than the call began with. It was there before that one
 * (`restored`), or is attached now. */
static int within_switching(struct thread *thread, int self, const struct context *other,
                            int restored) {
    publish(other);
    if (restored)
        expect_call(thread, "leaf", self);
    else
        expect_span(thread, "leaf", other);
    return leaf(6);
}

static int rounds_of(struct thread *thread) {
    const char *pause_us = getenv("PAUSE_US");
    int sum = 0;

    for (int round = 0; round < thread->rounds; round++) {
        if (pause_us)
            usleep((useconds_t)atoi(pause_us));

        struct context first = context_of(thread, round, 0, 0);
        struct context second = context_of(thread, round, 1, 0);
        struct context unsampled = context_of(thread, round, 2, 0);
        int self;

        expect_root(thread, "leaf");
        sum += leaf(7);
        publish(&first);
        self = expect_span(thread, "outer", &first);
        sum += outer(thread, round, self, &first);
        /* The second within the first, and closed by the call: what is left was there before. */
        expect_span(thread, "leaf", &first);
        sum += leaf(8);
        publish(&second);
        self = expect_span(thread, "switching", &second);
        sum += switching(thread, self, &first, 1);
        /* The first is closed as well, and attached anew within the call. */
        publish(NULL);
        expect_root(thread, "leaf");
        sum += leaf(9);
        publish(&second);
        self = expect_span(thread, "switching", &second);
        sum += switching(thread, self, &first, 0);
        publish(NULL);
        self = expect_root(thread, "switching");
        sum += switching(thread, self, &first, 0);
        unsampled.flags = 0;
        publish(&unsampled);
        expect(thread, "leaf", "unsampled", "-");
        sum += leaf(10);
        publish(NULL);
    }
    return sum;
}

static pthread_barrier_t ready, go;

static void *run(void *argument) {
    struct thread *thread = (struct thread *)argument;
    struct context context;
    void *thread_pointer;

    thread->tid = (pid_t)syscall(SYS_gettid);
    /* The first use gives the thread its copy, where the loader is lazy. */
    context = context_of(thread, 0, 7, 7);
    publish(&context);
    publish(NULL);
    __asm__("mov %%fs:0, %0" : "=r"(thread_pointer));
    flockfile(stdout);
    printf("thread %d %p %p\n", (int)thread->tid, thread_pointer, published_variable());
    funlockfile(stdout);
    pthread_barrier_wait(&ready);
    pthread_barrier_wait(&go);
    rounds_of(thread);
    return NULL;
}

/* PROGRAM THREADS ROUNDS LOG: prints "ready", waits for a line, runs, writes the log, prints "done"
 * and waits for the end of its input. PAUSE_US: how long each thread waits before each round. */
static int scenario(int argc, char **argv) {
    int count = argc > 1 ? atoi(argv[1]) : 1, rounds = argc > 2 ? atoi(argv[2]) : 1;
    struct thread *threads = (struct thread *)calloc(count, sizeof *threads);
    pthread_t *ids = (pthread_t *)calloc(count, sizeof *ids);
    FILE *log = argc > 3 ? fopen(argv[3], "w") : NULL;

    pthread_barrier_init(&ready, NULL, count + 1);
    pthread_barrier_init(&go, NULL, count + 1);
    for (int i = 0; i < count; i++) {
        threads[i].number = i;
        threads[i].rounds = rounds;
        if (pthread_create(&ids[i], NULL, run, &threads[i]))
            return 1;
    }
    pthread_barrier_wait(&ready);
    puts("ready");
    fflush(stdout);
    if (getchar() == EOF)
        return 0;
    pthread_barrier_wait(&go);
    for (int i = 0; i < count; i++) {
        pthread_join(ids[i], NULL);
        if (log && threads[i].log)
            fputs(threads[i].log, log);
    }
    if (log)
        fclose(log);
    puts("done");
    fflush(stdout);
    while (getchar() != EOF)
        ;
    return 0;
}

#endif
