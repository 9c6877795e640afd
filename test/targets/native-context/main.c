/*
 * The scenario in C. -DLOADED: what publishes is loaded by dlopen, from the path in
 * PUBLISH_LIBRARY; with PUBLISH_LATE only when a line comes, after "begun".
 */
#define _GNU_SOURCE
#include <dlfcn.h>

#include "scenario.h"

NOINLINE int leaf(int n) {
    __asm__ volatile("" : "+r"(n));
    return n + 1;
}

NOINLINE int outer(struct thread *thread, int round, int self, const struct context *current) {
    return within_outer(thread, round, self, current) + 1;
}

NOINLINE int switching(struct thread *thread, int self, const struct context *other, int restored) {
    return within_switching(thread, self, other, restored) + 1;
}

#ifdef LOADED
static void (*loaded_publish)(const struct context *);
static void *(*loaded_variable)(void);

void publish(const struct context *context) { loaded_publish(context); }

void *published_variable(void) { return loaded_variable(); }

static int load(void) {
    void *library = dlopen(getenv("PUBLISH_LIBRARY"), RTLD_NOW | RTLD_LOCAL);

    if (!library) {
        puts(dlerror());
        return 0;
    }
    *(void **)&loaded_publish = dlsym(library, "publish");
    *(void **)&loaded_variable = dlsym(library, "published_variable");
    return loaded_publish && loaded_variable;
}
#else
static int load(void) { return 1; }
#endif

int main(int argc, char **argv) {
    if (getenv("PUBLISH_LATE")) {
        puts("begun");
        fflush(stdout);
        getchar();
    }
    return load() ? scenario(argc, argv) : 1;
}
