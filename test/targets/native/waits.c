/*
 * Functions each of which waits for something else, and what the kernel says of their thread: how
 * long each took, and how much of that it had a processor.
 *
 *     waits ROUNDS CALLS FILE FOLDER
 *
 * ROUNDS of each function, then CALLS of one that does a little of everything. FOLDER is on a disk.
 * Writes to FILE who holds the lock and, by function, calls, wall and CPU time in ns.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define WAIT_NS 3000000L
#define PAGE 4096
#define NOINLINE __attribute__((noinline))

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t condition_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static int signalled, holder_tid;
static sem_t hold, held;
static int sockets[2], pipes[2];
static char disk_file[4096];
static volatile long sink;

static long nanoseconds(clockid_t clock) {
    struct timespec now;

    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000L + now.tv_nsec;
}

static void pause_for(long ns) {
    struct timespec time = {.tv_nsec = ns};

    nanosleep(&time, NULL);
}

NOINLINE void spin(long ns) {
    long begin = nanoseconds(CLOCK_MONOTONIC);

    while (nanoseconds(CLOCK_MONOTONIC) - begin < ns)
        sink++;
}

/* Holds the lock until somebody has waited for it for some time. */
NOINLINE void holder(void) {
    pthread_mutex_lock(&mutex);
    sem_post(&held);
    pause_for(WAIT_NS);
    pthread_mutex_unlock(&mutex);
    sink++;
}

NOINLINE void locker(void) {
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
    sink++;
}

NOINLINE void notifier(void) {
    pause_for(WAIT_NS);
    pthread_mutex_lock(&condition_mutex);
    signalled = 1;
    pthread_cond_signal(&condition);
    pthread_mutex_unlock(&condition_mutex);
    sink++;
}

NOINLINE void waiter(void) {
    pthread_mutex_lock(&condition_mutex);
    while (!signalled)
        pthread_cond_wait(&condition, &condition_mutex);
    signalled = 0;
    pthread_mutex_unlock(&condition_mutex);
    sink++;
}

NOINLINE void sleeper(void) {
    pause_for(WAIT_NS);
    sink++;
}

/* Until what was written is on the disk. */
NOINLINE void syncer(void) {
    int file = open(disk_file, O_RDWR | O_CREAT, 0600);
    char page[PAGE];

    memset(page, (int)sink, sizeof(page));
    for (int i = 0; i < 8; i++) {
        if (pwrite(file, page, sizeof(page), i * PAGE) < 0)
            exit(3);
        fsync(file);
    }
    close(file);
    sink++;
}

/* A mapping of a file that the kernel has forgotten. */
NOINLINE void faulter(const char *mapping, long size) {
    for (long at = 0; at < size; at += PAGE)
        sink += mapping[at];
}

NOINLINE void receiver(void) {
    char byte;

    if (read(sockets[0], &byte, 1) != 1)
        exit(3);
    sink++;
}

NOINLINE void piper(void) {
    char byte;

    if (read(pipes[0], &byte, 1) != 1)
        exit(3);
    sink++;
}

NOINLINE void runner(void) {
    spin(4 * WAIT_NS);
    sink++;
}

NOINLINE void inner(long ns) {
    pause_for(ns);
    sink++;
}

/* Waits for what runs beneath it now and then, and runs itself. */
NOINLINE void outer(void) {
    static int round;

    if (round++ % 16 == 0)
        inner(20000);
    spin(30000);
    sink++;
}

struct counted {
    const char *name;
    long calls, wall, cpu;
};

static void count(struct counted *counted, void (*function)(void)) {
    long cpu = nanoseconds(CLOCK_THREAD_CPUTIME_ID), wall = nanoseconds(CLOCK_MONOTONIC);

    function();
    counted->wall += nanoseconds(CLOCK_MONOTONIC) - wall;
    counted->cpu += nanoseconds(CLOCK_THREAD_CPUTIME_ID) - cpu;
    counted->calls++;
}

static void *holding(void *rounds) {
    holder_tid = syscall(SYS_gettid);
    for (long i = 0; i < (long)rounds; i++) {
        sem_wait(&hold);
        holder();
    }
    return NULL;
}

static void *notifying(void *unused) {
    notifier();
    return NULL;
}

static void *writing(void *file) {
    pause_for(WAIT_NS);
    if (write(*(int *)file, "x", 1) != 1)
        exit(3);
    return NULL;
}

/* Takes half of the processor that the caller is bound to. */
static volatile int competing;
static void *competitor(void *unused) {
    while (competing)
        sink++;
    return NULL;
}

static void bind_to(int cpu) {
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof(set), &set);
}

static void contended(void (*function)(void), struct counted *counted, long rounds) {
    pthread_t thread;
    cpu_set_t all;

    sched_getaffinity(0, sizeof(all), &all);
    bind_to(0);
    competing = 1;
    pthread_create(&thread, NULL, competitor, NULL);
    for (long i = 0; i < rounds; i++)
        count(counted, function);
    competing = 0;
    pthread_join(thread, NULL);
    sched_setaffinity(0, sizeof(all), &all);
}

static void fault_once(void) {
    int file = open(disk_file, O_RDWR | O_CREAT, 0600);
    long size = 16 * PAGE;
    char page[PAGE] = {1}, *mapping;

    for (long at = 0; at < size; at += PAGE)
        if (pwrite(file, page, PAGE, at) < 0)
            exit(3);
    fsync(file);
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    mapping = mmap(NULL, size, PROT_READ, MAP_SHARED, file, 0);
    madvise(mapping, size, MADV_RANDOM);
    faulter(mapping, size);
    munmap(mapping, size);
    close(file);
}

int main(int argc, char **argv) {
    long rounds = argc > 4 ? atol(argv[1]) : 0, calls = argc > 4 ? atol(argv[2]) : 0;
    struct counted functions[] = {
        {"locker"},   {"waiter"}, {"sleeper"}, {"syncer"},
        {"receiver"}, {"piper"},  {"runner"},  {"outer"},
    };
    pthread_t thread, holds;
    FILE *result;

    if (argc <= 4)
        return 2;
    snprintf(disk_file, sizeof(disk_file), "%s/page", argv[4]);
    sem_init(&hold, 0, 0);
    sem_init(&held, 0, 0);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) || pipe(pipes))
        return 3;
    pthread_create(&holds, NULL, holding, (void *)rounds);
    for (long i = 0; i < rounds; i++) {
        sem_post(&hold);
        sem_wait(&held);
        count(&functions[0], locker);
        pthread_create(&thread, NULL, notifying, NULL);
        count(&functions[1], waiter);
        pthread_join(thread, NULL);
        count(&functions[2], sleeper);
        count(&functions[3], syncer);
        pthread_create(&thread, NULL, writing, &sockets[1]);
        count(&functions[4], receiver);
        pthread_join(thread, NULL);
        pthread_create(&thread, NULL, writing, &pipes[1]);
        count(&functions[5], piper);
        pthread_join(thread, NULL);
        fault_once();
    }
    pthread_join(holds, NULL);
    contended(runner, &functions[6], rounds);
    for (long i = 0; i < calls; i++)
        count(&functions[7], outer);
    result = fopen(argv[3], "w");
    fprintf(result, "{\"holder\":%d,\"functions\":{", holder_tid);
    for (int i = 0; i < 8; i++)
        fprintf(result, "%s\"%s\":[%ld,%ld,%ld]", i ? "," : "", functions[i].name,
                functions[i].calls, functions[i].wall, functions[i].cpu);
    fprintf(result, "}}\n");
    fclose(result);
    return 0;
}
