// Every way in which a function of C++ ends: those of C, and those that are C++'s or glibc's own.
#include <stdexcept>
#include <string>
#include <ucontext.h>

#define MORE_FUNCTIONS(X) X(thrower) X(middle) X(catcher) X(coroutine) X(step)
#include "ends.h"

extern "C" {
// Every fourth call throws, from three frames down.
NOINLINE long thrower(long x) {
    COUNT(thrower);
    if (x % 4 == 0) {
        UNWOUND(thrower);
        throw std::runtime_error("fourth");
    }
    return leaf(x) + 1;
}
NOINLINE long middle(long x) {
    COUNT(middle);
    if (x % 4 == 0)
        UNWOUND(middle);
    std::string local(40, 'x'); // needs a destructor to run
    return thrower(x) + (long)local.size();
}
NOINLINE long catcher(long x) {
    COUNT(catcher);
    long got = 0;
    try {
        got = middle(x);
    } catch (const std::exception &) {
        got = -1;
    }
    return got + leaf(x); // a call after the unwinding
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
    COUNT(step);
    leaf(x);
    Coroutine *self = current;
    yield_to_scheduler(); // open while the other runs
    current = self;
    return leaf(x + 1) + 1;
}
NOINLINE long coroutine(long rounds) {
    COUNT(coroutine);
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
}

static void *worker(void *argument) {
    long rounds = (long)argument;
    for (long i = 0; i < rounds; i++)
        sink = catcher(i);
    use_c(rounds);
    run_coroutines(rounds);
    return nullptr;
}

int main(int count, char **arguments) { return end_in_every_way(count, arguments, worker); }
