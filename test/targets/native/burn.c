/*
 * Spins in its one function for as many milliseconds of CPU time as it reads, and prints after each
 * call how many nanoseconds of CPU time, and of any time, that took.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double ns(clockid_t clock) {
    struct timespec now;

    clock_gettime(clock, &now);
    return now.tv_sec * 1e9 + now.tv_nsec;
}

__attribute__((noinline)) void burn(double until) {
    while (ns(CLOCK_THREAD_CPUTIME_ID) < until)
        ;
}

int main(void) {
    char line[64];

    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("ready");
    while (fgets(line, sizeof(line), stdin)) {
        double cpu = ns(CLOCK_THREAD_CPUTIME_ID), wall = ns(CLOCK_MONOTONIC);

        burn(cpu + atof(line) * 1e6);
        printf("%.0f %.0f\n", ns(CLOCK_THREAD_CPUTIME_ID) - cpu, ns(CLOCK_MONOTONIC) - wall);
    }
    return 0;
}
