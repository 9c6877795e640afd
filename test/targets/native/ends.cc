// Functions that end in every way that C and C++ know. Counts its own calls, by function and by how
// they ended, and writes them as JSON: ends ROUNDS [FILE]. What is said here of frames holds
// whatever the compiler does: no call is the last thing that its caller does, but those of tail and
// recurse.
#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <pthread.h>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>
#include <vector>

#ifdef __clang__
#define NOINLINE __attribute__((noinline))
#else
#define NOINLINE __attribute__((noinline, noclone))
#endif

static long calls[16], unwound[16];
enum {
    LEAF,
    THROWER,
    MIDDLE,
    CATCHER,
    JUMPER,
    LANDING,
    COROUTINE,
    STEP,
    EXITER,
    HANDLER,
    CHILD,
    RECURSE,
    TAIL
};
static const char *const NAMES[] = {"leaf",    "thrower",   "middle", "catcher", "jumper",
                                    "landing", "coroutine", "step",   "exiter",  "handler",
                                    "child",   "recurse",   "tail"};

// Not by an instruction with a lock prefix, which would come first in some functions: the kernel
// puts no probe there.
static inline void add(long *count) {
    long now = __atomic_load_n(count, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(count, &now, now + 1, true, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED))
        ;
}
#define COUNT(what) add(&calls[what])
#define UNWOUND(what) add(&unwound[what])

extern "C" {
volatile long sink;
NOINLINE long leaf(long x) {
    COUNT(LEAF);
    sink = sink + x;
    return x * 2 + 1;
}

// Every fourth call throws, from three frames down.
NOINLINE long thrower(long x) {
    COUNT(THROWER);
    if (x % 4 == 0) {
        UNWOUND(THROWER);
        throw std::runtime_error("fourth");
    }
    return leaf(x) + 1;
}
NOINLINE long middle(long x) {
    COUNT(MIDDLE);
    if (x % 4 == 0)
        UNWOUND(MIDDLE);
    std::string local(40, 'x'); // needs a destructor to run
    return thrower(x) + (long)local.size();
}
NOINLINE long catcher(long x) {
    COUNT(CATCHER);
    long got = 0;
    try {
        got = middle(x);
    } catch (const std::exception &) {
        got = -1;
    }
    return got + leaf(x); // a call after the unwinding
}

static thread_local jmp_buf landing_place;
NOINLINE long jumper(long x) {
    COUNT(JUMPER);
    if (x % 3 == 0) {
        UNWOUND(JUMPER);
        longjmp(landing_place, 1);
    }
    return leaf(x) + 2;
}
NOINLINE long landing(long x) {
    COUNT(LANDING);
    volatile long got = 0;
    if (setjmp(landing_place) == 0)
        got = jumper(x);
    return got + leaf(x);
}

// Two coroutines whose calls are open in turn; their stacks lie in one piece of memory.
struct Coroutine {
    ucontext_t own;
    char *stack;
    long rounds;
};
static thread_local ucontext_t scheduler;
static thread_local Coroutine *current;
static void yield_to_scheduler() { swapcontext(&current->own, &scheduler); }
NOINLINE long step(long x) {
    COUNT(STEP);
    leaf(x);
    Coroutine *self = current;
    yield_to_scheduler(); // open while the other runs
    current = self;
    return leaf(x + 1) + 1;
}
NOINLINE long coroutine(long rounds) {
    COUNT(COROUTINE);
    long total = 0;
    for (long i = 0; i < rounds; i++)
        total += step(i);
    return total;
}
static void coroutine_main() {
    sink = coroutine(current->rounds);
    current->rounds = -1;
    yield_to_scheduler();
}
static thread_local char stacks[2][65536] __attribute__((aligned(64)));
static void run_coroutines(long rounds) {
    Coroutine both[2];
    for (int i = 0; i < 2; i++) {
        both[i].stack = stacks[i];
        both[i].rounds = rounds;
        getcontext(&both[i].own);
        both[i].own.uc_stack.ss_sp = both[i].stack;
        both[i].own.uc_stack.ss_size = sizeof stacks[i];
        both[i].own.uc_link = nullptr;
        makecontext(&both[i].own, coroutine_main, 0);
    }
    for (int left = 2; left > 0;)
        for (int i = 0; i < 2; i++) {
            if (both[i].rounds < 0)
                continue;
            current = &both[i];
            swapcontext(&scheduler, &both[i].own);
            if (both[i].rounds < 0)
                left--;
        }
}

NOINLINE long exiter(long x) {
    COUNT(EXITER);
    leaf(x);
    UNWOUND(EXITER);
    pthread_exit(nullptr);
}
static void *exiting_thread(void *x) { return (void *)exiter((long)x); }

NOINLINE void handler(int) {
    COUNT(HANDLER);
    sink = leaf(1);
}

NOINLINE long recurse(long depth) {
    COUNT(RECURSE);
    if (depth <= 0)
        return leaf(0);
    long got = recurse(depth - 1);
    sink = sink + got;
    return got ^ sink;
}
NOINLINE long tail(long x) {
    COUNT(TAIL);
    return leaf(x);
}

NOINLINE long child(long x) {
    COUNT(CHILD);
    return leaf(x) + 1;
}
}

static void *worker(void *argument) {
    long rounds = (long)argument;
    for (long i = 0; i < rounds; i++) {
        catcher(i);
        landing(i);
        recurse(5);
        tail(i);
    }
    run_coroutines(rounds);
    return nullptr;
}

int main(int count, char **arguments) {
    long rounds = count > 1 ? atol(arguments[1]) : 12;
    pthread_t threads[3];
    for (auto &thread : threads)
        pthread_create(&thread, nullptr, worker, (void *)rounds);
    for (auto &thread : threads)
        pthread_join(thread, nullptr);
    for (long i = 0; i < 5; i++) {
        pthread_t thread;
        pthread_create(&thread, nullptr, exiting_thread, (void *)i);
        pthread_join(thread, nullptr);
    }
    std::vector<char> other(1 << 16);
    stack_t alternate = {other.data(), 0, other.size()};
    sigaltstack(&alternate, nullptr);
    struct sigaction action = {};
    action.sa_handler = handler;
    action.sa_flags = SA_ONSTACK;
    sigaction(SIGUSR1, &action, nullptr);
    for (long i = 0; i < 7; i++)
        raise(SIGUSR1);
    // Children that are forked, and run the same functions.
    int lines[2];
    if (pipe(lines) != 0)
        return 1;
    for (int i = 0; i < 3; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            memset(calls, 0, sizeof calls);
            for (long k = 0; k < rounds; k++)
                child(k);
            long told[2] = {calls[CHILD], calls[LEAF]};
            if (write(lines[1], told, sizeof told) < 0)
                _exit(1);
            _exit(0);
        }
        long told[2];
        if (read(lines[0], told, sizeof told) < 0)
            return 1;
        calls[CHILD] += told[0];
        calls[LEAF] += told[1];
        waitpid(pid, nullptr, 0);
    }
    pid_t pid = vfork();
    if (pid == 0) {
        execl("/bin/true", "true", nullptr);
        _exit(1);
    }
    waitpid(pid, nullptr, 0);
    FILE *file = count > 2 ? fopen(arguments[2], "w") : stdout;
    if (!file)
        return 1;
    fprintf(file, "{");
    for (int i = 0; i <= TAIL; i++)
        fprintf(file, "%s\"%s\":[%ld,%ld]", i ? "," : "", NAMES[i], calls[i], unwound[i]);
    fprintf(file, "}\n");
    return fclose(file) == 0 ? 0 : 1;
}
