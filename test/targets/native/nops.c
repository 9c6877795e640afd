/* Functions that begin with a nop of five bytes, called by forked children too. Prints how often.
 */
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOP5 ".byte 0x0f, 0x1f, 0x44, 0x00, 0x00"
#define CALLS 1000

/* Nothing else that a probe could be put on comes before the return. */
__attribute__((noinline)) long bare(long x) {
    __asm__ volatile(NOP5);
    return x + 1;
}

/* The frame is pushed behind it. */
__attribute__((noinline)) long framed(long x) {
    __asm__ volatile(NOP5 "\n\tpush %%rbp\n\tpop %%rbp" ::: "memory");
    return bare(x) + 1;
}

int main(void) {
    long sum = 0;
    int status, failed = 0;

    for (int i = 0; i < CALLS; i++)
        sum += framed(i);
    for (int i = 0; i < 3; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            for (int k = 0; k < CALLS; k++)
                sum += framed(k);
            _exit(sum != 0 ? 0 : 1);
        }
        waitpid(pid, &status, 0);
        failed += status != 0;
    }
    printf("%d children died\n", failed);
    return failed;
}
