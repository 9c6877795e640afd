// Every way in which a function of C ends.
#define _GNU_SOURCE
#define MORE_FUNCTIONS(X)
#include "ends.h"

static void *worker(void *rounds) {
    use_c((long)rounds);
    return NULL;
}

int main(int count, char **arguments) { return end_in_every_way(count, arguments, worker); }
