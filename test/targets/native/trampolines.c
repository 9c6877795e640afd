/*
 * Functions that leave by an indirect jump, so that nothing but a replaced return address tells
 * when they end, called in all ways that may go wrong with that. Waits for a line on standard input
 * between its parts; counts its calls itself.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define KEEP __attribute__((noinline, noclone))

typedef long function(long);

/* Of each thread: the kernel puts no probe on an instruction with a lock prefix. */
static __thread long calls_of_dispatch, calls_of_twice;
static long all_of_dispatch, all_of_twice;
static sigjmp_buf back;

KEEP long twice(long n);
KEEP long plain(long n);
KEEP long rung(long n);
KEEP long hop(long n);
KEEP long yield(long n);
KEEP long jump_out(long n);
KEEP long fork_within(long n);
KEEP long vfork_within(long n);
KEEP long wait_within(long n);
KEEP long exec_within(long n);
KEEP long end_thread(long n);

enum { TWICE, PLAIN, RUNG, HOP, YIELD, JUMP_OUT, FORK, VFORK, WAIT, EXEC, END_THREAD };
function *volatile table[] = {twice,       plain,       rung,        hop,
                              yield,       jump_out,    fork_within, vfork_within,
                              wait_within, exec_within, end_thread};

/* A tail call through a pointer. */
KEEP long dispatch(long n, long which) {
    calls_of_dispatch++;
    return table[which](n);
}

KEEP long twice(long n) {
    calls_of_twice++;
    return 2 * n;
}

KEEP long plain(long n) { return n + 1; }

/* Calls, and does not jump. */
KEEP long rung(long n) { return n > 0 ? dispatch(n - 1, RUNG) + 1 : 0; }

/* A chain of jumps on one frame. */
KEEP long hop(long n) {
    if (n == 0)
        return 7;
    return dispatch(n - 1, HOP);
}

/* Its thread makes no more calls. */
static void add_up(void) {
    __atomic_fetch_add(&all_of_dispatch, calls_of_dispatch, __ATOMIC_RELAXED);
    __atomic_fetch_add(&all_of_twice, calls_of_twice, __ATOMIC_RELAXED);
}

static void await(void) {
    char line[8];

    puts("ready");
    fflush(stdout);
    if (!fgets(line, sizeof(line), stdin))
        exit(9);
}

static void jumps(long count) {
    long sum = 0;

    for (long i = 0; i < count; i++)
        sum += dispatch(i, i % 2 ? TWICE : PLAIN);
    printf("sum %ld\n", sum);
}

static ucontext_t main_context, contexts[2];
static int running, ended[2];
static long returned[2];

KEEP long yield(long n) {
    int self = running;

    if (!ended[!self]) {
        running = !self;
        swapcontext(&contexts[self], &contexts[running]);
    }
    return n + self;
}

static void coroutine(int self, int count) {
    for (int i = 0; i < count; i++)
        if (dispatch(self * 1000, YIELD) == self * 1000 + self)
            returned[self]++;
    ended[self] = 1;
    running = !self;
}

static void coroutines(void) {
    static const int counts[] = {899, 901};

    for (int i = 0; i < 2; i++) {
        getcontext(&contexts[i]);
        contexts[i].uc_stack.ss_size = 256 << 10;
        contexts[i].uc_stack.ss_sp = malloc(256 << 10);
        contexts[i].uc_link = i ? &main_context : &contexts[1];
        makecontext(&contexts[i], (void (*)(void))coroutine, 2, i, counts[i]);
    }
    dispatch(0, TWICE);
    swapcontext(&main_context, &contexts[0]);
    dispatch(0, TWICE);
    printf("A %ld, B %ld\n", returned[0], returned[1]);
}

KEEP long jump_out(long n) { siglongjmp(back, n + 1); }

static void jumps_out(void) {
    volatile long count = 0;

    for (volatile int i = 0; i < 200; i++) {
        if (sigsetjmp(back, 0))
            count++;
        else
            dispatch(dispatch(1, TWICE), JUMP_OUT);
    }
    printf("jumped out %ld, then %ld\n", count, dispatch(4, TWICE));
}

KEEP long fork_within(long n) {
    int status;
    pid_t child = fork();

    if (child == 0)
        return -n;
    waitpid(child, &status, 0);
    return n + WEXITSTATUS(status);
}

static void forks(void) {
    long result = dispatch(100, FORK);

    if (result < 0)
        _exit(dispatch(2, TWICE) + dispatch(2, PLAIN));
    printf("fork %ld\n", result);
}

KEEP long vfork_within(long n) {
    int status;
    pid_t child = vfork();

    if (child == 0) {
        execl("/bin/true", "true", NULL);
        _exit(1);
    }
    waitpid(child, &status, 0);
    return n + WEXITSTATUS(status);
}

KEEP long wait_within(long n) {
    await();
    return n * 3;
}

static char *self;
KEEP long exec_within(long n) {
    execl(self, self, "jumps", "-", NULL);
    return n;
}

static volatile long handled;
static void on_signal(int signal) { handled += dispatch(signal, TWICE); }

/* What a handler returns to. It begins with the kernel's frame on top of the stack. */
__attribute__((naked)) KEEP void restorer(void) { asm("mov $15, %eax\n\tsyscall\n\tud2"); }

static void restores(void) {
    struct {
        void (*handler)(int);
        unsigned long flags;
        void (*restorer)(void);
        unsigned long mask;
    } action = {on_signal, 0x04000000 /* SA_RESTORER */, restorer, 0};

    syscall(SYS_rt_sigaction, SIGUSR1, &action, NULL, sizeof(action.mask));
    for (int i = 0; i < 20; i++)
        raise(SIGUSR1);
    printf("handled %ld\n", handled);
}

static volatile sig_atomic_t stopped;
static void on_stop(int signal) { stopped = 1; }

static void loops(void) {
    signal(SIGTERM, on_stop);
    await();
    while (!stopped) {
        if (dispatch(9, RUNG) != 9 || dispatch(4, TWICE) != 8)
            exit(4);
        usleep(50);
    }
    puts("loops");
}

static void signals(void) {
    stack_t other = {.ss_size = 64 << 10, .ss_sp = malloc(64 << 10)};
    struct sigaction action = {.sa_handler = on_signal};

    sigaction(SIGUSR1, &action, NULL);
    sigaltstack(&other, NULL);
    action.sa_flags = SA_ONSTACK;
    sigaction(SIGUSR2, &action, NULL);
    for (int i = 0; i < 50; i++) {
        raise(SIGUSR1);
        raise(SIGUSR2);
    }
    printf("handled %ld\n", handled);
}

static void *thread(void *argument) {
    long sum = 0;

    for (int i = 0; i < 1000; i++)
        sum += dispatch(i, i % 2 ? TWICE : PLAIN);
    sum += dispatch((long)argument, RUNG);
    add_up();
    return (void *)sum;
}

static void threads(void) {
    pthread_t all[4];
    void *result;
    long sum = 0;

    for (long i = 0; i < 4; i++)
        pthread_create(&all[i], NULL, thread, (void *)i);
    for (int i = 0; i < 4; i++) {
        pthread_join(all[i], &result);
        sum += (long)result;
    }
    printf("threads %ld\n", sum);
}

/* Its stack is no mapping of its own, and lies below the main thread's control block. */
static void *on_heap(void *argument) {
    long result = dispatch((long)argument, TWICE);

    add_up();
    return (void *)result;
}

static void heap_thread(void) {
    pthread_attr_t attributes;
    pthread_t it;
    void *result;

    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, aligned_alloc(4096, 128 << 10), 128 << 10);
    pthread_create(&it, &attributes, on_heap, (void *)21);
    pthread_join(it, &result);
    printf("heap thread %ld\n", (long)result);
}

static int cleaned;
static void clean(void *unused) {
    cleaned++;
    add_up();
}
KEEP long end_thread(long n) {
#ifdef ENDS_THREADS
    pthread_exit((void *)n);
#endif
    return n;
}

static void *exiting(void *unused) {
    pthread_cleanup_push(clean, NULL);
    dispatch(5, END_THREAD);
    pthread_cleanup_pop(0);
    return NULL;
}

static void thread_exits(void) {
    pthread_t it;

    for (int i = 0; i < 20; i++) {
        pthread_create(&it, NULL, exiting, NULL);
        pthread_join(it, NULL);
    }
    printf("cleaned %d\n", cleaned);
}

static void plugin(void) {
    jumps(300);
    if (!dlopen("libgcc_s.so.1", RTLD_NOW))
        exit(8);
    jumps(300);
    await();
    jumps(300);
}

int main(int count, char **arguments) {
    const char *part = count > 1 ? arguments[1] : "";

    self = arguments[0];
    /* What stands below them is the number of the arguments. */
    if (arguments[count])
        return 6;
    if (count < 3)
        await();
    else if (strcmp(arguments[2], "-") && !freopen(arguments[2], "w", stdout))
        return 5;
    if (!strcmp(part, "jumps"))
        jumps(1000);
    else if (!strcmp(part, "coroutines"))
        coroutines();
    else if (!strcmp(part, "deep"))
        printf("deep %ld\n", dispatch(99, RUNG));
    else if (!strcmp(part, "chain"))
        printf("chain %ld\n", dispatch(99, HOP));
    else if (!strcmp(part, "longjmp"))
        jumps_out();
    else if (!strcmp(part, "fork"))
        forks();
    else if (!strcmp(part, "vfork"))
        printf("vfork %ld\n", dispatch(3, VFORK));
    else if (!strcmp(part, "loops"))
        loops();
    else if (!strcmp(part, "restorer"))
        restores();
    else if (!strcmp(part, "signals"))
        signals();
    else if (!strcmp(part, "threads"))
        threads();
    else if (!strcmp(part, "heap-thread"))
        heap_thread();
    else if (!strcmp(part, "thread-exits"))
        thread_exits();
    else if (!strcmp(part, "plugin"))
        plugin();
    else if (!strcmp(part, "wait"))
        printf("waited %ld\n", dispatch(dispatch(1, WAIT), TWICE));
    else if (!strcmp(part, "exec"))
        return dispatch(0, EXEC);
    else
        return 7;
    add_up();
    printf("dispatch %ld twice %ld\n", all_of_dispatch, all_of_twice);
    return 0;
}
