#include "session_probe.h"

#include <bpf/bpf.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <iterator>

#include "attach_multi.h"
#include "own_site.h"

// Of x86-64, newer than the headers here: commit 190fec72df4a, Linux 6.11.
static constexpr uint32_t URETPROBE = 335;

static Fd load_session() {
    bpf_insn code[2] = {};
    code[0].code = BPF_ALU64 | BPF_MOV | BPF_K; // r0 = 0: the return is wanted
    code[1].code = BPF_JMP | BPF_EXIT;
    LIBBPF_OPTS(bpf_prog_load_opts, options);
    options.expected_attach_type = TRACE_UPROBE_SESSION;
    return Fd(bpf_prog_load(BPF_PROG_TYPE_KPROBE, "underspan_try", "GPL", code, std::size(code),
                            &options));
}

// In a forked child, where only system calls are safe: dies by the filter if it is asked.
[[noreturn]] static void return_under_filter(int begin) {
    char byte;
    if (read(begin, &byte, 1) != 1)
        _exit(1);
    sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, URETPROBE, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    sock_fprog program{std::size(filter), filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
    underspan_try_hit();
    _exit(0);
}

static bool returns_under_filter(const Fd &program) {
    OwnSite site = own_site(reinterpret_cast<uint64_t>(&underspan_try_hit));
    int ends[2];
    if (site.path.empty() || pipe(ends) != 0)
        return false;
    Fd begin(ends[0]), say(ends[1]);
    pid_t child = fork();
    if (child == 0) {
        close(ends[1]);
        return_under_filter(ends[0]);
    }
    if (child < 0)
        return false;
    UprobeSites sites{site.path, child, {site.offset}, {0}};
    int fd = create_uprobe_multi_link(program.get(), sites, TRACE_UPROBE_SESSION);
    bool asked = fd >= 0 && write(say.get(), "", 1) == 1;
    if (!asked)
        kill(child, SIGKILL);
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return false;
    if (fd >= 0)
        close(fd);
    return asked && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool has_uprobe_session() {
    Fd program = load_session();
    return program && returns_under_filter(program);
}
