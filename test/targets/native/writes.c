/*
 * Two threads that write lines to /dev/null from a function, and one line each from its caller:
 * what the kernel does for each of them is known. At the end it writes where it may not.
 *
 *     writes ROUNDS
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define LINES 3

static int null_file;

__attribute__((noipa)) long store(const char *line, unsigned long size) {
    long written = 0;

    for (int i = 0; i < LINES; i++)
        written += write(null_file, line, size);
    return written;
}

__attribute__((noipa)) long work(void) {
    long written = write(null_file, "title\n", 6);

    return written + store("a line\n", 7);
}

static void *run(void *rounds) {
    for (long i = 0; i < (long)rounds; i++)
        if (work() != 6 + LINES * 7)
            exit(1);
    return NULL;
}

int main(int argc, char **argv) {
    long rounds = argc > 1 ? atol(argv[1]) : 1;
    pthread_t threads[2];

    null_file = open("/dev/null", O_WRONLY);
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, run, (void *)rounds);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    return write(open("/dev/null", O_RDONLY), "nothing\n", 8) != -1;
}
