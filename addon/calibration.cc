#include "calibration.h"

#include <asm/ptrace.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "attach_multi.h"
#include "attach_perf.h"
#include "bpf_code.h"
#include "link.h"
#include "own_site.h"

// Functions of our own with one known instruction each, all in one page. Nothing looks at their
// return addresses, so that replacing one does no harm.
#define PROBED(name)                                                                               \
    extern "C" __attribute__((visibility("hidden"))) void underspan_cost_##name();                 \
    extern "C" __attribute__((visibility("hidden"))) const char underspan_cost_##name##_site[];
PROBED(push)
PROBED(jump)
PROBED(move)
PROBED(ret)
PROBED(session)
PROBED(carried_out)
#undef PROBED
asm(R"(
    .macro begins name
    .type underspan_cost_\name, @function
underspan_cost_\name:
    .endm
    .macro ends name
    .size underspan_cost_\name, . - underspan_cost_\name
    .endm
    .pushsection .text
    .balign 256
    begins push
underspan_cost_push_site:
    push %rbp
    pop %rbp
    ret
    ends push
    begins jump
    test %rsp, %rsp
underspan_cost_jump_site:
    jbe 1f
1:  ret
    ends jump
    begins move
underspan_cost_move_site:
    mov %rsp, %rax
    ret
    ends move
    begins ret
    xor %eax, %eax
underspan_cost_ret_site:
    ret
    ends ret
    begins session
underspan_cost_session_site:
    push %rbp
    pop %rbp
    ret
    ends session
    begins carried_out
    xor %eax, %eax
underspan_cost_carried_out_site:
    ret
    ends carried_out
    .popsection
    .purgem begins
    .purgem ends
)");

namespace {

using Function = void (*)();

// A single step may take twenty times as long as an emulation.
constexpr unsigned ROUNDS = 7, CHEAP_CALLS = 32, DEAR_CALLS = 8, BESIDE_CALLS = 300;

struct Probed {
    Function function;
    const char *site;
    unsigned calls;
    std::optional<double> *result;
    std::vector<double> rounds = {};
};

double now() {
    timespec time{};
    // What others do on this CPU meanwhile does not count.
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

double per_call(Function function, unsigned calls) {
    double before = now();
    for (unsigned i = 0; i < calls; i++)
        function();
    return (now() - before) / calls;
}

double median(std::vector<double> values) {
    auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

Fd load_empty(const CalibrationOptions &options, bpf_attach_type type) {
    return load({set(0, 0), leave()}, options.sleepable ? BPF_F_SLEEPABLE : 0, type);
}

// As returns.bpf.h does it.
Fd load_return(const CalibrationOptions &options, bpf_attach_type type) {
    constexpr int LOAD = BPF_LDX | BPF_MEM | BPF_DW, STORE = BPF_STX | BPF_MEM | BPF_DW;
    constexpr int16_t IP = offsetof(pt_regs, rip), SP = offsetof(pt_regs, rsp);
    Instructions code = {
        copy(6, 1),
        copy(1, 10),
        add(1, -8),
        set(2, 8),
        instruction(LOAD, 3, 6, SP, 0),
        call(BPF_FUNC_probe_read_user),
        instruction(BPF_JMP | BPF_JNE | BPF_K, 0, 0, 5, 0),
        instruction(LOAD, 1, 10, -8, 0),
        instruction(STORE, 6, 1, IP, 0),
        instruction(LOAD, 1, 6, SP, 0),
        add(1, 8),
        instruction(STORE, 6, 1, SP, 0),
        set(0, 0),
        leave(),
    };
    return load(code, options.sleepable ? BPF_F_SLEEPABLE : 0, type);
}

bool has_shadow_stack() {
    std::ifstream status("/proc/thread-self/status");
    for (std::string line; std::getline(status, line);)
        if (line.starts_with("x86_Thread_features:"))
            return line.find("shstk") != std::string::npos;
    return false;
}

class Calibrator {
  public:
    explicit Calibrator(const CalibrationOptions &options) : options_(options) {}
    // Closing takes tens of milliseconds, which nobody has to wait for: only the end of the process
    // does, see link.h.
    ~Calibrator() {
        for (const auto &link : links_)
            std::thread([link] { link->close(); }).detach();
    }

    Calibration measure() {
        std::optional<double> push, jump, move, ret, session, carried_out;
        std::vector<Probed> probed = {
            {underspan_cost_push, underspan_cost_push_site, CHEAP_CALLS, &push},
            {underspan_cost_jump, underspan_cost_jump_site, CHEAP_CALLS, &jump},
            {underspan_cost_move, underspan_cost_move_site, DEAR_CALLS, &move},
            {underspan_cost_ret, underspan_cost_ret_site, DEAR_CALLS, &ret},
        };
        attach(load_empty(options_, multi_type()), probed, multi_type());
        if (options_.session) {
            Probed both = {underspan_cost_session, underspan_cost_session_site, CHEAP_CALLS,
                           &session};
            attach(load_empty(options_, TRACE_UPROBE_SESSION), {both}, TRACE_UPROBE_SESSION);
            probed.push_back(both);
        }
        if (options_.writes_registers && !has_shadow_stack()) {
            Probed returned = {underspan_cost_carried_out, underspan_cost_carried_out_site,
                               CHEAP_CALLS, &carried_out};
            attach(load_return(options_, multi_type()), {returned}, multi_type());
            probed.push_back(returned);
        }
        // The first hits of a process, and of a site, have more to do.
        for (const Probed &each : probed)
            per_call(each.function, 3);
        for (unsigned round = 0; round < ROUNDS; round++)
            for (Probed &each : probed)
                each.rounds.push_back(per_call(each.function, each.calls));
        for (const Probed &each : probed)
            *each.result = std::max(0.0, median(each.rounds) - UNPROBED);
        return {*push, *jump, *move, *ret, session, carried_out, beside()};
    }

  private:
    // What calling such a function takes by itself, on any machine about.
    static constexpr double UNPROBED = 2;

    const CalibrationOptions options_;
    std::vector<std::shared_ptr<Link>> links_;

    bpf_attach_type multi_type() const {
        return options_.multi ? TRACE_UPROBE_MULTI : static_cast<bpf_attach_type>(0);
    }

    void attach(const Fd &program, const std::vector<Probed> &probed, bpf_attach_type type) {
        if (!program)
            throw failure_of("BPF_FAILED", "Cannot load an empty program", errno);
        pid_t self = options_.multi && !options_.multi_threads
                         ? static_cast<pid_t>(syscall(SYS_gettid))
                         : getpid();
        UprobeSites sites{{}, self, {}, {}};
        for (const Probed &each : probed) {
            OwnSite site = own_site(reinterpret_cast<uint64_t>(each.site));
            sites.path = site.path;
            sites.offsets.push_back(site.offset);
            sites.cookies.push_back(0);
        }
        std::vector<Fd> fds;
        if (options_.multi)
            fds.push_back(attach_uprobe_multi(program.get(), sites, type));
        else
            fds = attach_uprobe_perf(program.get(), sites);
        links_.push_back(Link::keep(std::move(fds), probed.size()));
    }

    static double beside() {
        std::atomic<unsigned> ready = 0;
        double costs[2] = {};
        auto hit = [&](double &cost) {
            per_call(underspan_cost_push, 3);
            ready++;
            while (ready < 2)
                std::this_thread::yield();
            cost = per_call(underspan_cost_push, BESIDE_CALLS) - UNPROBED;
        };
        std::thread other([&] { hit(costs[1]); });
        hit(costs[0]);
        other.join();
        return std::max(0.0, (costs[0] + costs[1]) / 2);
    }
};

} // namespace

Calibration calibrate(const CalibrationOptions &options) {
    static std::mutex mutex;
    static std::optional<Calibration> known;
    // Two at once would carry out the same return twice.
    std::lock_guard lock(mutex);
    if (!known)
        known = Calibrator(options).measure();
    return *known;
}
