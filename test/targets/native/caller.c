// Calls library_work of a library as often as a line of its input says, and answers each line with
// how many calls there have been. Linked with the library, or else loads it at the line "load
// PATH".
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef LINKED
long library_work(long x);
#else
static long (*library_work)(long x);
#endif

int main(void) {
    static char line[4096];
    long calls = 0;
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        if (!strncmp(line, "load ", 5)) {
#ifndef LINKED
            void *library = dlopen(line + 5, RTLD_NOW);
            if (!library) {
                fprintf(stderr, "%s\n", dlerror());
                return 1;
            }
            library_work = (long (*)(long))dlsym(library, "library_work");
            // Before anybody can have noticed.
            library_work(++calls);
#endif
        } else {
            for (long n = atol(line); n > 0; n--)
                library_work(++calls);
        }
        printf("%ld\n", calls);
        fflush(stdout);
    }
    return 0;
}
