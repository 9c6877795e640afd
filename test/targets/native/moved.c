/*
 * A library without others, so that it can be there several times. The function's call returns to
 * the place in a page at which the function itself begins.
 */
long moved_work(long n);

__asm__(".text\n"
        ".balign 4096\n"
        ".globl moved_work\n"
        ".type moved_work, @function\n"
        "moved_work:\n"
        "    push %rbp\n"
        "    mov %rsp, %rbp\n"
        "    lea 1(%rdi), %rax\n"
        "    pop %rbp\n"
        "    ret\n"
        ".size moved_work, . - moved_work\n"
        ".balign 4096\n"
        ".skip 4096 - 9\n"
        ".globl call_moved\n"
        ".type call_moved, @function\n"
        "call_moved:\n"
        "    sub $8, %rsp\n"
        "    .byte 0xe8\n" /* call, also where its target may be another library's */
        "    .long moved_work - . - 4\n"
        "    add $8, %rsp\n"
        "    ret\n"
        ".size call_moved, . - call_moved\n"
        ".section .note.GNU-stack, \"\", @progbits\n");
