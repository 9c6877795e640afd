#include "attach_kernel.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>

#include <fstream>
#include <string>

#include "attach_event.h"
#include "kernel_api.h"

static std::string meaning_of(int error_number) {
    switch (error_number) {
    case ENOENT:
    case ESRCH:
    case EINVAL:
    case EILSEQ:
    case EADDRNOTAVAIL:
        return " (a function cannot carry a probe, or its module is gone)";
    case EMFILE:
    case ENFILE:
        return " (too many open files; raise the limit: ulimit -n)";
    default:
        return "";
    }
}

static NativeFailure attach_failure(const KernelSites &sites, int error_number) {
    return failure_of("ATTACH_FAILED",
                      "Cannot attach " + std::to_string(sites.cookies.size()) +
                          " probes to the kernel" + meaning_of(error_number),
                      error_number);
}

int create_kprobe_multi_link(int program, const KernelSites &sites) {
    KprobeMultiAttr attr{};
    attr.prog_fd = static_cast<uint32_t>(program);
    attr.attach_type = TRACE_KPROBE_MULTI;
    attr.flags = sites.returns ? KPROBE_MULTI_RETURN : 0;
    attr.count = static_cast<uint32_t>(sites.cookies.size());
    if (sites.names.empty())
        attr.addresses = reinterpret_cast<uint64_t>(sites.addresses.data());
    else
        attr.symbols = reinterpret_cast<uint64_t>(sites.names.data());
    attr.cookies = reinterpret_cast<uint64_t>(sites.cookies.data());
    long fd = syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));
    return fd >= 0 ? static_cast<int>(fd) : -errno;
}

Fd attach_kprobe_multi(int program, const KernelSites &sites) {
    int fd = create_kprobe_multi_link(program, sites);
    if (fd < 0)
        throw attach_failure(sites, -fd);
    return Fd(fd);
}

// Dynamic, so read from sysfs (commit e12f03d7031a, "perf/core: Implement the 'perf_kprobe' PMU").
static bool kprobe_event_type(uint32_t &type) {
    std::ifstream file("/sys/bus/event_source/devices/kprobe/type");
    return bool(file >> type);
}

// By name, or with none by address.
static int open_event(uint32_t type, const char *name, uint64_t address, bool returns) {
    perf_event_attr attr{};
    attr.size = sizeof(attr);
    attr.type = type;
    attr.config = returns ? 1 : 0;
    attr.config1 = reinterpret_cast<uint64_t>(name);
    attr.config2 = address;
    // As with uprobes: the probe runs its programs whatever the event's state.
    attr.disabled = 1;
    long fd = syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
    return fd >= 0 ? static_cast<int>(fd) : -errno;
}

std::vector<Fd> attach_kprobe_perf(int program, const KernelSites &sites) {
    uint32_t type;
    if (!kprobe_event_type(type))
        throw NativeFailure{"BPF_UNSUPPORTED", "This kernel has no kprobe events", 0, ""};
    std::vector<Fd> fds;
    fds.reserve(sites.addresses.size());
    for (size_t i = 0; i < sites.cookies.size(); i++) {
        int opened = sites.names.empty()
                         ? open_event(type, nullptr, sites.addresses[i], sites.returns)
                         : open_event(type, sites.names[i], 0, sites.returns);
        if (opened < 0)
            throw attach_failure(sites, -opened);
        Fd event(opened);
        if (int failed = attach_event(program, event, sites.cookies[i]))
            throw attach_failure(sites, -failed);
        fds.push_back(std::move(event));
    }
    return fds;
}

Fd attach_trampoline(int program) {
    Fd link(bpf_raw_tracepoint_open(nullptr, program));
    if (!link)
        throw failure_of("ATTACH_FAILED", "Cannot attach to a function of the kernel", errno);
    return link;
}
