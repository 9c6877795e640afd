/* Functions of every shape that compilers make of C, each called by run(). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#ifdef __clang__
#define KEEP __attribute__((noinline))
#else
#define KEEP __attribute__((noinline, noclone))
#endif
#define COLD __attribute__((noinline, cold))

volatile long sink;

KEEP long leaf(long a, long b) { return a + b; }
KEEP void nothing(void) {}
KEEP long tail_call(long a) { return leaf(a * 3, a); }

KEEP long conditional_tail_call(long a) {
    if (a & 1)
        return leaf(a, 1);
    sink = a;
    if (a & 2)
        return tail_call(a);
    return a;
}

KEEP long early_exits(long a) {
    if (a < 0)
        return -1;
    if (a > 100)
        return leaf(a, 100);
    sink += a;
    return a == 7 ? 8 : a;
}

KEEP long dense_switch(long a, long b) {
    switch (a) {
    case 0:
        return b * 3;
    case 1:
        return b ^ 77;
    case 2:
        sink = b;
        return b - 1;
    case 3:
        return leaf(b, b);
    case 4:
        return b / 3;
    case 5:
        return tail_call(b);
    case 6:
        sink++;
        break;
    case 7:
        return b << 3;
    }
    return 5;
}

KEEP long looping_switch(const unsigned char *code) {
    long a = 0;

    for (;;) {
        switch (*code++) {
        case 0:
            return a;
        case 1:
            a++;
            break;
        case 2:
            a *= 3;
            break;
        case 3:
            a -= 7;
            break;
        case 4:
            a ^= 0x55;
            break;
        case 5:
            sink = a;
            break;
        case 6:
            a = leaf(a, 6);
            break;
        case 7:
            continue;
        }
    }
}

KEEP long threaded(const unsigned char *code) {
    static const void *const labels[] = {&&end, &&add, &&twice, &&call};
    long a = 0;

    goto *labels[*code++];
add:
    a++;
    goto *labels[*code++];
twice:
    a *= 2;
    goto *labels[*code++];
call:
    a = leaf(a, 1);
    goto *labels[*code++];
end:
    return a;
}

typedef long (*operation)(long, long);
static const operation operations[] = {leaf, dense_switch};
operation changing_operation = leaf;

KEEP long by_pointer(operation f, long a) { return f(a, a); }
KEEP long by_table(unsigned i, long a) { return operations[i & 1](a, a); }
KEEP long by_variable(long a) { return changing_operation(a, 2); }

KEEP long recursive(long a) {
    if (a <= 1)
        return 1;
    return recursive(a - 1) + recursive(a - 2);
}

KEEP long tail_recursive(long a, long sum) {
    if (a == 0)
        return sum;
    return tail_recursive(a - 1, sum + a);
}

KEEP long loop_first(const long *list) {
    while (*list)
        list = (const long *)*list;
    return (long)list & 1;
}

KEEP void spin(volatile int *word) {
    while (__atomic_exchange_n(word, 1, __ATOMIC_ACQUIRE))
        __builtin_ia32_pause();
}

KEEP long variadic(int count, ...) {
    va_list list;
    long sum = 0;

    va_start(list, count);
    while (count-- > 0)
        sum += va_arg(list, long);
    va_end(list);
    return sum;
}

KEEP double floats(double a, double b, int n) {
    while (n-- > 0)
        a = a * 1.5 + b;
    return a;
}

struct large {
    long words[12];
};
KEEP struct large by_value(struct large a, long b) {
    for (int i = 0; i < 12; i++)
        a.words[i] += b;
    return a;
}

KEEP long large_frame(long a) {
    volatile char buffer[20000];

    buffer[a & 1023] = (char)a;
    buffer[19999] = 1;
    return buffer[a & 1023] + buffer[19999];
}

KEEP long variable_frame(long a) {
    char *buffer = __builtin_alloca((size_t)a & 511);

    memset(buffer, 3, (size_t)a & 511);
    sink = (long)buffer;
    return buffer[0];
}

KEEP long aligned_frame(long a) {
    __attribute__((aligned(64))) volatile long words[8];

    words[a & 7] = a;
    return leaf(words[a & 7], 1);
}

COLD void complain(long a) { sink = a; }

KEEP long with_cold_part(long a) {
    if (__builtin_expect(a == 9, 0)) {
        complain(a);
        complain(a + 1);
        if (sink == 10)
            return 3;
    }
    return leaf(a, 2);
}

static jmp_buf jump;
KEEP void jumps_far(long a) {
    if (a & 1)
        longjmp(jump, 1);
    sink = a;
}

KEEP long is_jumped_over(long a) {
    jumps_far(a);
    return a + 1;
}

KEEP long sets_jump(long a) {
    if (setjmp(jump))
        return -1;
    return is_jumped_over(a);
}

KEEP long many_arguments(long a, long b, long c, long d, long e, long f, long g, long h) {
    return leaf(a + b * c - d, e) + f * g - h;
}

static int by_value_of(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

int run(void) {
    static const unsigned char code[] = {1, 2, 3, 6, 7, 4, 5, 1, 0};
    static const unsigned char threads[] = {1, 2, 3, 1, 0};
    long end = 0, list = (long)&end;
    volatile int word = 0;
    struct large large = {{1}};
    int numbers[] = {5, 2, 9, 1};
    long sum = 0;

    for (long i = -1; i < 10; i++) {
        nothing();
        sum += tail_call(i) + conditional_tail_call(i) + early_exits(i * 20);
        sum += dense_switch(i, i * 5) + looping_switch(code) + threaded(threads);
        sum += by_pointer(leaf, i) + by_table((unsigned)i, i) + by_variable(i);
        sum += recursive(i) + tail_recursive(i < 0 ? 0 : i, 0) + loop_first(&list);
        sum += variadic(3, i, i, i) + (long)floats(1.5, (double)i, 3);
        large = by_value(large, i);
        sum += large.words[3] + large_frame(i) + variable_frame(i + 40) + aligned_frame(i);
        sum += with_cold_part(i) + sets_jump(i);
        sum += many_arguments(i, 1, 2, 3, 4, 5, 6, 7);
        word = 0;
        spin(&word);
    }
    qsort(numbers, 4, sizeof numbers[0], by_value_of);
    sink = sum + numbers[0];
    return 0;
}

#ifndef NO_MAIN
int main(void) { return run(); }
#endif
