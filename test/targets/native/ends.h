// Functions that end in every way that C knows, for ends.c and ends.cc. Counts its own calls, by
// function and by how they ended, and writes them as JSON: ends ROUNDS [FILE]. What is said here of
// frames holds whatever the compiler does: no call is the last thing that its caller does, but
// those of tail and recurse.
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __clang__
#define NOINLINE __attribute__((noinline))
#else
#define NOINLINE __attribute__((noinline, noclone))
#endif

// MORE_FUNCTIONS are those of the language.
#define FUNCTIONS(X)                                                                               \
    X(leaf)                                                                                        \
    X(jumper)                                                                                      \
    X(landing)                                                                                     \
    X(escaper)                                                                                     \
    X(escaping)                                                                                    \
    X(exiter)                                                                                      \
    X(cancelled)                                                                                   \
    X(handler)                                                                                     \
    X(child)                                                                                       \
    X(vforker)                                                                                     \
    X(recurse)                                                                                     \
    X(tail)                                                                                        \
    MORE_FUNCTIONS(X)

#define NUMBER(name) NUMBER_##name,
#define NAME(name) #name,
enum { FUNCTIONS(NUMBER) COUNTED };
static const char *const NAMES[] = {FUNCTIONS(NAME)};
static long calls[COUNTED], unwound[COUNTED];

// Not by an instruction with a lock prefix, which would come first in some functions: the kernel
// puts no probe there.
static inline void add(long *count) {
    long now = __atomic_load_n(count, __ATOMIC_RELAXED);
    while (
        !__atomic_compare_exchange_n(count, &now, now + 1, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
}
#define COUNT(what) add(&calls[NUMBER_##what])
#define UNWOUND(what) add(&unwound[NUMBER_##what])

#ifdef __cplusplus
extern "C" {
#endif
volatile long sink;
NOINLINE long leaf(long x) {
    COUNT(leaf);
    sink = sink + x;
    return x * 2 + 1;
}

static __thread jmp_buf landing_place;
NOINLINE long jumper(long x) {
    COUNT(jumper);
    if (x % 3 == 0) {
        UNWOUND(jumper);
        longjmp(landing_place, 1);
    }
    return leaf(x) + 2;
}
NOINLINE long landing(long x) {
    COUNT(landing);
    volatile long got = 0;
    if (setjmp(landing_place) == 0)
        got = jumper(x);
    return got + leaf(x);
}

// A signal handler, on a stack of its own, that jumps back to the thread's.
static sigjmp_buf escape_to;
NOINLINE void escaper(int number) {
    COUNT(escaper);
    leaf(number);
    UNWOUND(escaper);
    siglongjmp(escape_to, 1);
}
NOINLINE long escaping(long x) {
    COUNT(escaping);
    if (sigsetjmp(escape_to, 1) == 0)
        raise(SIGUSR2);
    return leaf(x) + 1;
}

NOINLINE long exiter(long x) {
    COUNT(exiter);
    leaf(x);
    UNWOUND(exiter);
    pthread_exit(NULL);
}

static sem_t is_waiting;
NOINLINE long cancelled(long x) {
    COUNT(cancelled);
    leaf(x);
    UNWOUND(cancelled);
    sem_post(&is_waiting);
    for (;;)
        pause();
}

NOINLINE void handler(int number) {
    COUNT(handler);
    sink = leaf(number);
}

NOINLINE long recurse(long depth) {
    COUNT(recurse);
    if (depth <= 0)
        return leaf(0);
    long got = recurse(depth - 1);
    sink = sink + got;
    return got ^ sink;
}
NOINLINE long tail(long x) {
    COUNT(tail);
    return leaf(x);
}

NOINLINE long child(long x) {
    COUNT(child);
    return leaf(x) + 1;
}

// Its child borrows its memory and its stack, and executes another program.
NOINLINE long vforker(long x) {
    COUNT(vforker);
    pid_t pid = vfork();
    if (pid == 0) {
        execl("/bin/true", "true", NULL);
        _exit(1);
    }
    waitpid(pid, NULL, 0);
    return leaf(x) + 1;
}
#ifdef __cplusplus
}
#endif

static void *exiting_thread(void *x) { return (void *)exiter((long)x); }
static void *cancelled_thread(void *x) { return (void *)cancelled((long)x); }

// What every thread does. Results are used: a linker that optimises drops those that are not, and
// then a call may be the last thing that its caller does.
static void use_c(long rounds) {
    for (long i = 0; i < rounds; i++) {
        sink = landing(i);
        sink = recurse(5);
        sink = tail(i);
    }
}

static void end_threads(void) {
    pthread_t thread;
    for (long i = 0; i < 5; i++) {
        pthread_create(&thread, NULL, exiting_thread, (void *)i);
        pthread_join(thread, NULL);
    }
    sem_init(&is_waiting, 0, 0);
    for (long i = 0; i < 5; i++) {
        pthread_create(&thread, NULL, cancelled_thread, (void *)i);
        sem_wait(&is_waiting);
        pthread_cancel(thread);
        pthread_join(thread, NULL);
    }
}

static void take(int number, void (*by)(int)) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = by;
    action.sa_flags = SA_ONSTACK;
    sigaction(number, &action, NULL);
}
static void handle_signals(void) {
    stack_t alternate;
    memset(&alternate, 0, sizeof alternate);
    alternate.ss_size = 1 << 16;
    alternate.ss_sp = malloc(alternate.ss_size);
    sigaltstack(&alternate, NULL);
    take(SIGUSR1, handler);
    take(SIGUSR2, escaper);
    for (long i = 0; i < 6; i++)
        sink = escaping(i);
    for (long i = 0; i < 7; i++)
        raise(SIGUSR1);
}

// Children that are forked, and run the same functions.
static int use_children(long rounds) {
    int lines[2];
    if (pipe(lines) != 0)
        return 0;
    for (int i = 0; i < 3; i++) {
        long told[2];
        pid_t pid = fork();
        if (pid == 0) {
            memset(calls, 0, sizeof calls);
            for (long k = 0; k < rounds; k++)
                sink = child(k);
            told[0] = calls[NUMBER_child];
            told[1] = calls[NUMBER_leaf];
            _exit(write(lines[1], told, sizeof told) < 0);
        }
        if (read(lines[0], told, sizeof told) < 0)
            return 0;
        calls[NUMBER_child] += told[0];
        calls[NUMBER_leaf] += told[1];
        waitpid(pid, NULL, 0);
    }
    for (long i = 0; i < 3; i++)
        sink = vforker(i);
    return 1;
}

static int end_in_every_way(int count, char **arguments, void *(*worker)(void *)) {
    long rounds = count > 1 ? atol(arguments[1]) : 12;
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, worker, (void *)rounds);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    end_threads();
    handle_signals();
    if (!use_children(rounds))
        return 1;
    FILE *file = count > 2 ? fopen(arguments[2], "w") : stdout;
    if (!file)
        return 1;
    fprintf(file, "{");
    for (int i = 0; i < COUNTED; i++)
        fprintf(file, "%s\"%s\":[%ld,%ld]", i ? "," : "", NAMES[i], calls[i], unwound[i]);
    fprintf(file, "}\n");
    return fclose(file) == 0 ? 0 : 1;
}
