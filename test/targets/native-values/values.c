/* Prints what it calls each function with, and what that returns, one JSON object a line, into the
 * file that it is called with. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct list {
    struct list *next;
    int id;
    char label[8];
    const char *text;
    double weight;
};

struct pair {
    long a, b;
};

struct large {
    long v[5];
};

#define KEEP __attribute__((noinline))

KEEP int visit(struct list *l, const char *s, struct pair t, struct large b, int n, unsigned char c,
               float f) {
    int result = n > 1 ? -n : n;
    printf("{\"function\":\"visit\",\"id\":%d,\"label\":\"%s\",\"s\":\"%s\",\"a\":%ld,\"b\":%ld,"
           "\"v\":%ld,\"n\":%d,\"c\":%d,\"f\":%g,\"result\":%d}\n",
           l ? l->id : 0, l ? l->label : "", s ? s : "", t.a, t.b, b.v[1], n, c, f, result);
    return result;
}

KEEP const char *find(const char *key, size_t n) {
    const char *result = n % 3 == 0 ? NULL : key + 1;
    printf("{\"function\":\"find\",\"key\":\"%s\",\"n\":%zu,\"result\":\"%s\"}\n", key, n,
           result ? result : "");
    return result;
}

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 8;
    if (argc > 2 && !freopen(argv[2], "w", stdout))
        return 1;
    /* Text that ends with its page. */
    char *page = aligned_alloc(4096, 4096);
    memset(page, 'x', 4096);
    page[4095] = 0;
    struct list first = {NULL, 1, "first", "text a", 1.5};
    for (int i = 0; i < rounds; i++) {
        struct list second = {&first, i, "second", "text b", i / 2.0};
        struct pair t = {7 * i, -8 * i};
        struct large large = {{1, 22 + i, 3}};
        const char *s = i % 4 == 3 ? NULL : page + 4095 - 20 * i;
        visit(i % 5 == 4 ? NULL : &second, s, t, large, i - 2, (unsigned char)(200 + i), 1.5f);
        find("abc", (size_t)i);
    }
    return 0;
}
