/*
 * Dies of SIGSEGV in its first call of work() that finds a breakpoint there. With "bear" it bears
 * them. Prints a line once it runs.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int bears;

__attribute__((noinline, used)) int work(int n) {
    const volatile unsigned char *code = (const volatile unsigned char *)work;

    for (int i = 0; i < 16 && !bears; i++)
        if (code[i] == 0xcc)
            *(volatile int *)0 = 0;
    return n + 1;
}

int main(int argc, char **argv) {
    bears = argc > 1 && strcmp(argv[1], "bear") == 0;
    work(0);
    puts("ready");
    fflush(stdout);
    for (;;) {
        work(1);
        usleep(1000);
    }
}
