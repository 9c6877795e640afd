/*
 * 256 functions that are called at an even rate by two threads, none of them much; and for so many
 * milliseconds as each line says, one after another of 8 functions that are called without a pause.
 * At the end it prints how often each kind, and the whole crowd, was called.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define PAUSE_NS 40000000 /* of a thread, between two calls of a function */

static atomic_long crowd_calls, busy_calls;
static atomic_int stopped;

#define CROWD(n)                                                                                   \
    __attribute__((noipa)) void crowd_##n(void) { atomic_fetch_add(&crowd_calls, 1); }
#define BUSY(n)                                                                                    \
    __attribute__((noipa)) void busy_##n(void) { atomic_fetch_add(&busy_calls, 1); }
#define EACH_OF_8(X, n) X(n##0) X(n##1) X(n##2) X(n##3) X(n##4) X(n##5) X(n##6) X(n##7)
#define EACH_OF_64(X, n)                                                                           \
    EACH_OF_8(X, n##0)                                                                             \
    EACH_OF_8(X, n##1)                                                                             \
    EACH_OF_8(X, n##2)                                                                             \
    EACH_OF_8(X, n##3) EACH_OF_8(X, n##4) EACH_OF_8(X, n##5) EACH_OF_8(X, n##6) EACH_OF_8(X, n##7)
#define EACH_OF_256(X) EACH_OF_64(X, 0) EACH_OF_64(X, 1) EACH_OF_64(X, 2) EACH_OF_64(X, 3)

/* In this order in the file: probes of both are attached together. */
EACH_OF_8(BUSY, 0)
EACH_OF_256(CROWD)

#define CROWD_NAME(n) crowd_##n,
#define BUSY_NAME(n) busy_##n,
static void (*const crowd[])(void) = {EACH_OF_256(CROWD_NAME)};
static void (*const busy[])(void) = {EACH_OF_8(BUSY_NAME, 0)};

static void *call_crowd(void *unused) {
    const struct timespec pause = {.tv_nsec = PAUSE_NS};

    while (!stopped) {
        for (size_t i = 0; i < sizeof(crowd) / sizeof(*crowd); i++)
            crowd[i]();
        nanosleep(&pause, NULL);
    }
    return unused;
}

static double now_ms(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

int main(void) {
    pthread_t threads[2];
    char line[64];

    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("ready");
    if (!fgets(line, sizeof(line), stdin))
        return 1;
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, call_crowd, NULL);
    for (int next = 0; fgets(line, sizeof(line), stdin); next++) {
        double end = now_ms() + atof(line);

        while (now_ms() < end)
            for (int i = 0; i < 1000; i++)
                busy[next % 8]();
        puts("done");
    }
    stopped = 1;
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    printf("%ld %ld\n", crowd_calls, busy_calls);
    return 0;
}
