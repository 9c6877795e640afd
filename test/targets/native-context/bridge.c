/* The scenario, for programs that are not written in C. */
#define _GNU_SOURCE
#include "scenario.h"

int scenario_in_c(int argc, char **argv) { return scenario(argc, argv); }

int within_outer_in_c(struct thread *thread, int round, int self, const struct context *current) {
    return within_outer(thread, round, self, current);
}

int within_switching_in_c(struct thread *thread, int self, const struct context *other,
                          int restored) {
    return within_switching(thread, self, other, restored);
}
