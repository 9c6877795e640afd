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

enum color { RED = 1, BLUE = -2 };

struct bits {
    unsigned a : 3;
    int b : 6;
    unsigned long c : 40;
    _Bool d : 1;
    enum color e : 3;
    unsigned : 2;
    char f : 4;
};

struct few {
    unsigned short a : 4, b : 11;
    int c : 9;
};

/* Those at the edges lie in two words. */
struct __attribute__((packed)) tight {
    unsigned a : 5;
    unsigned long b : 62;
    int c : 9;
};

#define KEEP __attribute__((noinline))

KEEP int bits(const struct bits *p, struct few f, const struct tight *t) {
    printf("{\"function\":\"bits\",\"p.a\":%d,\"p.b\":%d,\"p.c\":%lu,\"p.d\":%s,\"p.e\":\"%s\","
           "\"p.f\":%d,\"f.a\":%d,\"f.b\":%d,\"f.c\":%d,\"t.a\":%d,\"t.b\":\"%lu\",\"t.c\":%d}\n",
           p->a, p->b, (unsigned long)p->c, p->d ? "true" : "false", p->e == RED ? "RED" : "BLUE",
           p->f, f.a, f.b, f.c, t->a, (unsigned long)t->b, t->c);
    return f.c;
}

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
        struct bits set = {i % 8,     i - 12, (1UL << 39) + 3 * i, i % 2, i % 3 ? RED : BLUE,
                           i % 16 - 8};
        struct few few = {i % 16, 80 * i, 10 * i - 200};
        struct tight tight = {i, (1UL << 61) + i, 20 * i - 250};
        bits(&set, few, &tight);
    }
    return 0;
}
