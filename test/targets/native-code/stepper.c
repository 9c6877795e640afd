/*
 * Executes a program one instruction at a time and compares the sites that were planned for its
 * functions with what the functions do: each call must pass its entry site once, with the registers
 * that it was called with, and end at a return site whose condition holds, and no return site may
 * count at any other time.
 *
 *     stepper PLAN FROM PROGRAM
 *
 * FROM is the address where it begins, in hexadecimal. Lines of PLAN, addresses as in the file:
 *     start ADDRESS                   the file's entry point
 *     function ENTRY ADJUSTMENT FLAGS the next function; ENTRY 0: refused; FLAGS 1: entry only
 *     range START END                 a part of it; the first begins with its first instruction
 *     exit ADDRESS CONDITION          of it
 * Prints "calls N ends N unwound N steps N", after a line for each thing that is not as planned.
 */
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_FUNCTIONS 20000
#define MOST_EXITS 200000
#define MOST_OPEN 10000
#define MOST_COMPLAINTS 20
#define TAKEN 16

typedef unsigned long word;

struct function {
    word first, entry, adjustment;
    int entry_only;
};
struct call {
    int function, entries;
    struct user_regs_struct at;
};

static struct function functions[MOST_FUNCTIONS];
static int function_count;
static word text_start = -1UL, text_end;
/* By address: 1 + the function, 1 + the function whose entry site it is, 1 + the exit's condition.
 */
static int *owner, *entry_of, *exit_of;
static struct call open_calls[MOST_OPEN];
static int depth, complaints;

static void fail(const char *what) {
    perror(what);
    exit(2);
}

static void complain(const char *what, int function, word rip) {
    if (++complaints <= MOST_COMPLAINTS)
        printf("%s: function %lx at %lx\n", what, functions[function].first, rip);
}

static word read_plan(const char *path) {
    struct {
        word a, b;
        int function;
    }(*lines)[2] = calloc(MOST_EXITS, sizeof *lines);
    int ranges = 0, exits = 0;
    char kind[16];
    word a, start = 0;
    FILE *file = fopen(path, "r");

    if (!file)
        fail(path);
    while (fscanf(file, "%15s %lx", kind, &a) == 2) {
        struct function *last = &functions[function_count - 1];
        word b = 0;

        if (!strcmp(kind, "start")) {
            start = a;
            continue;
        }
        if (fscanf(file, "%lx", &b) != 1 || function_count >= MOST_FUNCTIONS ||
            ranges >= MOST_EXITS || exits >= MOST_EXITS)
            fail("the plan");
        if (!strcmp(kind, "function")) {
            int flags = 0;

            if (fscanf(file, "%d", &flags) != 1)
                fail("the plan");
            functions[function_count++] = (struct function){0, a, b, flags};
        } else if (!strcmp(kind, "range")) {
            if (!last->first)
                last->first = a;
            lines[ranges][0].a = a;
            lines[ranges][0].b = b;
            lines[ranges++][0].function = function_count;
            text_start = a < text_start ? a : text_start;
            text_end = b > text_end ? b : text_end;
        } else {
            lines[exits][1].a = a;
            lines[exits++][1].b = b;
        }
    }
    fclose(file);
    owner = calloc(text_end - text_start, sizeof *owner);
    entry_of = calloc(text_end - text_start, sizeof *owner);
    exit_of = calloc(text_end - text_start, sizeof *owner);
    for (int i = 0; i < ranges; i++)
        for (word at = lines[i][0].a; at < lines[i][0].b; at++)
            owner[at - text_start] = lines[i][0].function;
    for (int i = 0; i < exits; i++)
        exit_of[lines[i][1].a - text_start] = 1 + (int)lines[i][1].b;
    for (int i = 0; i < function_count; i++)
        if (functions[i].entry)
            entry_of[functions[i].entry - text_start] = 1 + i;
    return start;
}

/* What of the tables stands at an address of the file. */
static int at(const int *table, word address) {
    return address >= text_start && address < text_end ? table[address - text_start] : 0;
}

/* Told another way than the kernel side does. */
static int is_taken(word flags, int code) {
    int carry = flags & 1, parity = flags >> 2 & 1, zero = flags >> 6 & 1;
    int sign = flags >> 7 & 1, overflow = flags >> 11 & 1;
    int truth[] = {overflow,
                   carry,
                   zero,
                   carry || zero,
                   sign,
                   parity,
                   sign != overflow,
                   zero || sign != overflow};

    return truth[code >> 1] ^ (code & 1);
}

static word bias_of(pid_t pid, word start) {
    char path[64];
    Elf64_auxv_t entry;
    int fd;

    snprintf(path, sizeof path, "/proc/%d/auxv", pid);
    fd = open(path, O_RDONLY);
    while (fd >= 0 && read(fd, &entry, sizeof entry) == sizeof entry)
        if (entry.a_type == AT_ENTRY)
            return entry.a_un.a_val - start;
    fail("auxv");
    return 0;
}

/* Signals are kept from it: with -pg it would be told of the time. */
static int run_on(pid_t pid, enum __ptrace_request how) {
    int status;

    do {
        if (ptrace(how, pid, 0, 0) || waitpid(pid, &status, 0) != pid)
            fail("ptrace");
    } while (WIFSTOPPED(status) && WSTOPSIG(status) != SIGTRAP);
    return WIFSTOPPED(status);
}

static void run_to(pid_t pid, word address) {
    struct user_regs_struct regs;
    long text = ptrace(PTRACE_PEEKTEXT, pid, address, 0);

    ptrace(PTRACE_POKETEXT, pid, address, (text & ~0xffL) | 0xcc);
    if (!run_on(pid, PTRACE_CONT))
        fail("it ended before it began");
    ptrace(PTRACE_POKETEXT, pid, address, text);
    ptrace(PTRACE_GETREGS, pid, 0, &regs);
    regs.rip = address;
    ptrace(PTRACE_SETREGS, pid, 0, &regs);
}

static int same_arguments(const struct user_regs_struct *a, const struct user_regs_struct *b) {
    return a->rdi == b->rdi && a->rsi == b->rsi && a->rdx == b->rdx && a->rcx == b->rcx &&
           a->r8 == b->r8 && a->r9 == b->r9 && a->rax == b->rax;
}

int main(int argc, char **argv) {
    unsigned long calls = 0, ends = 0, unwound = 0, steps = 0;
    struct user_regs_struct regs, before = {0};
    word top_of_stack = 0; /* what is above began before */
    int pending = 0;       /* 1 + the function that is to end with this step */
    word start, bias;
    pid_t pid;

    if (argc < 4)
        return 2;
    start = read_plan(argv[1]);
    pid = fork();
    if (pid == 0) {
        personality(ADDR_NO_RANDOMIZE);
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        execv(argv[3], argv + 3);
        _exit(127);
    }
    waitpid(pid, NULL, 0);
    bias = bias_of(pid, start);
    run_to(pid, strtoul(argv[2], NULL, 16) + bias);
    do {
        word rip;
        int here, exits;

        if (ptrace(PTRACE_GETREGS, pid, 0, &regs))
            fail("registers");
        rip = regs.rip - bias;
        here = at(owner, rip);
        top_of_stack = steps++ == 0 ? regs.rsp : top_of_stack;
        while (depth > 0) {
            struct call *top = &open_calls[depth - 1];
            int of = top->function;
            int is_own = at(owner, before.rip - bias) == of + 1;

            if (regs.rsp < top->at.rsp || (regs.rsp == top->at.rsp && (here == of + 1 || !is_own)))
                break;
            if (functions[of].entry && top->entries != 1)
                complain(top->entries ? "began twice" : "did not begin", of, rip);
            if (!is_own || before.rsp != top->at.rsp) {
                unwound++;
            } else {
                if (!functions[of].entry_only && functions[of].entry && pending != of + 1)
                    complain("ended elsewhere", of, before.rip - bias);
                pending = pending == of + 1 ? 0 : pending;
                ends++;
            }
            depth--;
        }
        if (pending)
            complain("did not end", pending - 1, before.rip - bias);
        pending = 0;
        if (here && rip == functions[here - 1].first &&
            !(depth > 0 && open_calls[depth - 1].function == here - 1 &&
              open_calls[depth - 1].at.rsp == regs.rsp)) {
            if (depth == MOST_OPEN)
                fail("too deep");
            open_calls[depth++] = (struct call){here - 1, 0, regs};
            calls++;
        }
        if (at(entry_of, rip)) {
            struct call *top = &open_calls[depth > 0 ? depth - 1 : 0];
            int of = at(entry_of, rip) - 1;

            if (depth == 0 || top->function != of)
                complain("begins outside of a call", of, rip);
            else if (regs.rsp + functions[of].adjustment != top->at.rsp)
                complain("has another stack pointer", of, rip);
            else if (!same_arguments(&regs, &top->at))
                complain("has other arguments", of, rip);
            else if (!(regs.rip == before.rip && top->entries == 1)) /* rep */
                top->entries++;
        }
        exits = at(exit_of, rip);
        if (depth == 0 && regs.rsp > top_of_stack)
            exits = 0;
        if (exits && (exits - 1 < TAKEN || is_taken(regs.eflags, exits - 1 - TAKEN))) {
            if (depth == 0 || open_calls[depth - 1].function != here - 1 ||
                open_calls[depth - 1].at.rsp != regs.rsp)
                complain("ends outside of a call", here - 1, rip);
            else
                pending = here;
        }
        before = regs;
    } while (run_on(pid, PTRACE_SINGLESTEP));
    printf("calls %lu ends %lu unwound %lu steps %lu\n", calls, ends, unwound, steps);
    return complaints > 0;
}
