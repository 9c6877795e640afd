/*
 * Calls a function of a library that it is linked with, in turn with that of copies of it at other
 * addresses, which come and go. The library's path is its argument. Begins when it has read a line;
 * prints how many calls it made.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

typedef long caller(long);
long call_moved(long n);

enum { ROUNDS = 50 };

static const char *path;
static long calls;

static void call(caller *make) {
    if (make(7) != 8)
        exit(2);
    calls++;
}

/* Another copy; `taken`: what its place must not be, and then is. */
static void *open_copy(caller **make, unsigned long *taken) {
    void *copy = dlmopen(LM_ID_NEWLM, path, RTLD_NOW);
    struct link_map *map = copy;

    if (!copy || map->l_addr == *taken)
        exit(3);
    *taken = map->l_addr;
    *make = (caller *)dlsym(copy, "call_moved");
    return copy;
}

static void *rounds(void *nothing) {
    unsigned long place = 0;
    caller *make;

    for (int round = 0; round < 4; round++) {
        void *copy = open_copy(&make, &place);

        for (int n = 0; n < ROUNDS; n++)
            call(make);
        for (int n = 0; n < ROUNDS; n++) {
            call(call_moved);
            call(make);
        }
        if (dlclose(copy))
            exit(4);
        /* So that the next copy lies elsewhere. */
        if (mmap((void *)place, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
                 -1, 0) == MAP_FAILED)
            exit(5);
    }
    return nothing;
}

int main(int count, char **arguments) {
    pthread_t thread;

    if (count < 2 || getchar() != '\n')
        return 1;
    path = arguments[1];
    rounds(NULL);
    if (pthread_create(&thread, NULL, rounds, NULL) || pthread_join(thread, NULL))
        return 6;
    printf("%ld\n", calls);
    return 0;
}
