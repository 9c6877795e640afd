#include "features.h"

#include <asm/ptrace.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string_view>
#include <thread>
#include <vector>

#include "attach_kernel.h"
#include "attach_multi.h"
#include "attach_perf.h"
#include "bpf_code.h"
#include "kernel_api.h"
#include "memlock.h"
#include "own_site.h"
#include "session_probe.h"

// A helper without arguments.
static bool has_helper(int32_t helper) { return bool(load({call(helper), set(0, 0), leave()})); }

static bool has_ring_buffer() {
    return bool(Fd(bpf_map_create(BPF_MAP_TYPE_RINGBUF, "underspan_try", 0, 0,
                                  static_cast<uint32_t>(sysconf(_SC_PAGESIZE)), nullptr)));
}

// Commit 7adfc6c9b315 ("bpf: Add bpf_get_attach_cookie() BPF helper"), Linux 5.15.
static bool has_cookies() {
    return bool(load({call(BPF_FUNC_get_attach_cookie), set(0, 0), leave()}));
}

// Commit 8c7dcb84e3b7 ("bpf: implement sleepable uprobes by chaining gps"), Linux 6.0.
static bool has_sleepable() {
    Instructions code = {
        copy(1, 10), add(1, -8), set(2, 8), set(3, 0), call(BPF_FUNC_copy_from_user),
        set(0, 0),   leave()};
    return bool(load(code, BPF_F_SLEEPABLE));
}

// Commit 5ffa25502b5a ("bpf: Add instructions for atomic_[cmp]xchg"), Linux 5.12.
static bool has_atomics() {
    Instructions code = {store(10, -8, 0),
                         set(0, 0),
                         set(1, 1),
                         instruction(BPF_STX | BPF_ATOMIC | BPF_DW, 10, 1, -8, BPF_CMPXCHG),
                         instruction(BPF_STX | BPF_ATOMIC | BPF_DW, 10, 1, -8, BPF_ADD | BPF_FETCH),
                         set(0, 0),
                         leave()};
    return bool(load(code));
}

// A directory cannot carry probes: a kernel that knows such links says so by EBADF, any other
// has refused the program or the link's type before.
static bool has_uprobe_multi(const Fd &program) {
    UprobeSites sites{"/", std::nullopt, {0}, {0}};
    int link = create_uprobe_multi_link(program.get(), sites);
    if (link >= 0)
        close(link);
    return link == -EBADF;
}

// Counts its runs in the first element of an array.
static Fd load_counter(int map) {
    Instructions code = {
        instruction(BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, 0),
        copy(2, 10),
        add(2, -4),
        instruction(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, map),
        instruction(0, 0, 0, 0, 0),
        call(BPF_FUNC_map_lookup_elem),
        instruction(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 2, 0),
        set(1, 1),
        instruction(BPF_STX | BPF_ATOMIC | BPF_DW, 0, 1, 0, BPF_ADD),
        set(0, 0),
        leave(),
    };
    return load(code, 0, TRACE_UPROBE_MULTI);
}

// Before commit 46ba0e49b642 ("bpf: fix multi-uprobe PID filtering logic", Linux 6.10) the filter
// compared threads, so that with a process id only its main thread was seen. Two threads that are
// not the main one call a function of ours; both must be counted.
static bool multi_sees_threads() {
    OwnSite site = own_site(reinterpret_cast<uint64_t>(&underspan_try_hit));
    Fd map(bpf_map_create(BPF_MAP_TYPE_ARRAY, "underspan_try", 4, 8, 1, nullptr));
    if (site.path.empty() || !map)
        return false;
    Fd program = load_counter(map.get());
    if (!program)
        return false;
    UprobeSites sites{site.path, getpid(), {site.offset}, {0}};
    Fd link(create_uprobe_multi_link(program.get(), sites));
    if (!link)
        return false;
    std::thread(underspan_try_hit).join();
    std::thread(underspan_try_hit).join();
    uint32_t key = 0;
    uint64_t hits = 0;
    return bpf_map_lookup_elem(map.get(), &key, &hits) == 0 && hits == 2;
}

// The probed function of the test below: 1, and 0 if the instruction at the site is left out. It is
// no ret, which would crash this process on a kernel that lets programs write registers and then
// carries out the instruction all the same.
extern "C" __attribute__((visibility("hidden"))) int underspan_try_skip();
extern "C" __attribute__((visibility("hidden"))) const char underspan_try_skip_site[];
asm(R"(
    .pushsection .text
    .type underspan_try_skip, @function
underspan_try_skip:
    xor %eax, %eax
underspan_try_skip_site:
    mov $1, %eax
    ret
    .size underspan_try_skip, . - underspan_try_skip
    .popsection
)");
static constexpr int SKIPPED_BYTES = 5;

// Moves ip over the probed instruction, and writes sp.
static Fd load_skip(bool multi, bool sleepable) {
    constexpr int LOAD = BPF_LDX | BPF_MEM | BPF_DW, STORE = BPF_STX | BPF_MEM | BPF_DW;
    constexpr int16_t IP = offsetof(pt_regs, rip), SP = offsetof(pt_regs, rsp);
    Instructions code = {
        instruction(LOAD, 2, 1, IP, 0),
        add(2, SKIPPED_BYTES),
        instruction(STORE, 1, 2, IP, 0),
        instruction(LOAD, 2, 1, SP, 0),
        instruction(STORE, 1, 2, SP, 0),
        set(0, 0),
        leave(),
    };
    return load(code, sleepable ? BPF_F_SLEEPABLE : 0,
                multi ? TRACE_UPROBE_MULTI : static_cast<bpf_attach_type>(0));
}

// A program must not carry out a ret where a shadow stack is on, and looks at its thread for that.
static bool shadow_stacks_are_seen() {
    bool possible = false;
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);)
        possible |= line.starts_with("x86_Thread_features:");
    if (!possible)
        return true;
    std::unique_ptr<btf, decltype(&btf__free)> types(btf__load_vmlinux_btf(), btf__free);
    if (!types)
        return false;
    int id = btf__find_by_name_kind(types.get(), "thread_struct", BTF_KIND_STRUCT);
    if (id < 0)
        return false;
    const btf_type *type = btf__type_by_id(types.get(), static_cast<uint32_t>(id));
    for (int i = 0; i < btf_vlen(type); i++) {
        uint32_t name = btf_members(type)[i].name_off;
        if (btf__name_by_offset(types.get(), name) == std::string_view("features"))
            return true;
    }
    return false;
}

// Commits 7384893d970e ("bpf: Allow uprobe program to change context registers") and 4363264111e1
// ("uprobe: Do not emulate/sstep original instruction when ip is changed"), Linux 6.19. The one
// without the other would be fatal, so a function of ours is probed and called, with programs of
// the kind that will be used.
static bool writes_registers(bool multi, bool sleepable) {
    Fd program = load_skip(multi, sleepable);
    OwnSite site = own_site(reinterpret_cast<uint64_t>(underspan_try_skip_site));
    if (!program || site.path.empty() || !shadow_stacks_are_seen())
        return false;
    UprobeSites sites{site.path, getpid(), {site.offset}, {0}};
    try {
        std::vector<Fd> links;
        if (multi)
            links.push_back(attach_uprobe_multi(program.get(), sites));
        else
            links = attach_uprobe_perf(program.get(), sites);
        return underspan_try_skip() == 0;
    } catch (const NativeFailure &) {
        return false;
    }
}

// A system call that hardly any program makes: the probe is there for a moment only.
static KernelSites tried_function(bool returns) {
    return {{}, {"__x64_sys_getppid"}, {0}, returns};
}

static bool has_kprobes() {
    Fd program = load({set(0, 0), leave()});
    try {
        return program && !attach_kprobe_perf(program.get(), tried_function(false)).empty();
    } catch (const NativeFailure &) {
        return false;
    }
}

// Commit 0dcac2725406 ("bpf: Add multi kprobe link"), Linux 5.18.
static bool has_kprobe_multi() {
    Fd program = load({set(0, 0), leave()}, 0, TRACE_KPROBE_MULTI);
    return program && Fd(create_kprobe_multi_link(program.get(), tried_function(false)));
}

// Commit fec56f5890d9 ("bpf: Introduce BPF trampoline"), Linux 5.5; whether a function can carry
// one is seen only when it is attached. The kernel has a function for such tries.
static bool has_fentry() {
    btf *types = btf__load_vmlinux_btf();
    int function =
        types != nullptr ? btf__find_by_name_kind(types, "bpf_fentry_test1", BTF_KIND_FUNC) : -1;
    btf__free(types);
    if (function <= 0)
        return false;
    Instructions code = {set(0, 0), leave()};
    LIBBPF_OPTS(bpf_prog_load_opts, options);
    options.expected_attach_type = BPF_TRACE_FENTRY;
    options.attach_btf_id = static_cast<uint32_t>(function);
    Fd program(bpf_prog_load(BPF_PROG_TYPE_TRACING, "underspan_try", "GPL", code.data(),
                             code.size(), &options));
    return program && Fd(bpf_raw_tracepoint_open(nullptr, program.get()));
}

// Keeps the stack pointer of this process's hits in an element of an array.
static Fd load_stack_pointer_keeper(int map, int32_t element, bool multi) {
    constexpr int16_t STACK_POINTER = 152; // of struct pt_regs
    Instructions code = {
        copy(6, 1),
        call(BPF_FUNC_get_current_pid_tgid),
        instruction(BPF_ALU64 | BPF_RSH | BPF_K, 0, 0, 0, 32),
        instruction(BPF_JMP | BPF_JNE | BPF_K, 0, 0, 9, getpid()),
        instruction(BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, element),
        copy(2, 10),
        add(2, -4),
        instruction(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, map),
        instruction(0, 0, 0, 0, 0),
        call(BPF_FUNC_map_lookup_elem),
        instruction(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 2, 0),
        instruction(BPF_LDX | BPF_MEM | BPF_DW, 1, 6, STACK_POINTER, 0),
        instruction(BPF_STX | BPF_MEM | BPF_DW, 0, 1, 0, 0),
        set(0, 0),
        leave(),
    };
    return load(code, 0, multi ? TRACE_KPROBE_MULTI : static_cast<bpf_attach_type>(0));
}

static std::vector<Fd> keep_stack_pointers(const std::vector<Fd> &programs, bool multi) {
    std::vector<Fd> links;
    for (size_t i = 0; i < programs.size(); i++) {
        KernelSites sites = tried_function(i == 1);
        if (multi)
            links.push_back(attach_kprobe_multi(programs[i].get(), sites));
        else
            for (Fd &link : attach_kprobe_perf(programs[i].get(), sites))
                links.push_back(std::move(link));
    }
    return links;
}

std::optional<int64_t> return_distance(bool multi) {
    Fd map(bpf_map_create(BPF_MAP_TYPE_ARRAY, "underspan_try", 4, 8, 2, nullptr));
    std::vector<Fd> programs;
    for (int32_t element : {0, 1})
        programs.push_back(load_stack_pointer_keeper(map.get(), element, multi));
    if (!map || !programs[0] || !programs[1])
        return std::nullopt;
    std::vector<Fd> links = keep_stack_pointers(programs, multi);
    // In one call: where the kernel's stack begins is random at each.
    syscall(SYS_getppid);
    uint64_t pointers[2] = {};
    for (uint32_t key : {0, 1})
        if (bpf_map_lookup_elem(map.get(), &key, &pointers[key]) != 0 || pointers[key] == 0)
            return std::nullopt;
    return static_cast<int64_t>(pointers[1] - pointers[0]);
}

bool counts_locked_memory() {
    // The helper came with the release that counts otherwise (commit d05512618056, Linux 5.11);
    // libbpf goes by it, too.
    return !has_helper(BPF_FUNC_ktime_get_coarse_ns);
}

Features probe_features() {
    Instructions trivial = {set(0, 0), leave()};
    if (!load(trivial)) {
        int error = errno;
        if (auto limited = locked_memory_failure(error))
            throw *limited;
        throw failure_of("BPF_UNSUPPORTED", "Cannot load a BPF program", error);
    }
    Features found;
    found.btf = access("/sys/kernel/btf/vmlinux", R_OK) == 0;
    found.ring_buffer = has_ring_buffer();
    found.cookies = has_cookies();
    found.sleepable = has_sleepable();
    found.atomics = has_atomics();
    // Commit 7c7e3d31e785 ("bpf: Introduce helper bpf_find_vma"), Linux 5.17.
    found.finds_mappings =
        libbpf_probe_bpf_helper(BPF_PROG_TYPE_KPROBE, BPF_FUNC_find_vma, nullptr) == 1;
    Fd program = load(trivial, 0, TRACE_UPROBE_MULTI);
    found.uprobe_multi = program && has_uprobe_multi(program);
    found.uprobe_multi_threads = found.uprobe_multi && multi_sees_threads();
    found.uprobe_session = found.uprobe_multi_threads && has_uprobe_session();
    found.writes_registers = writes_registers(found.uprobe_multi, found.sleepable);
    // Commit d46edd671a14 ("bpf: Sharing bpf runtime stats with BPF_ENABLE_STATS"), Linux 5.8.
    found.run_time_statistics = bool(Fd(bpf_enable_stats(BPF_STATS_RUN_TIME)));
    found.kprobes = has_kprobes();
    found.kprobe_multi = has_kprobe_multi();
    found.fentry = has_fentry();
    return found;
}
