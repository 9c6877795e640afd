#include "attach_perf.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include <fstream>

// Dynamic, so read from sysfs (commit 33ea4b24277b, "perf/core: Implement the 'perf_uprobe' PMU").
static uint32_t uprobe_event_type() {
    std::ifstream file("/sys/bus/event_source/devices/uprobe/type");
    uint32_t type = 0;
    if (!(file >> type))
        throw NativeFailure{"BPF_UNSUPPORTED", "This kernel has no uprobe events", 0, ""};
    return type;
}

static Fd open_event(uint32_t type, const UprobeSites &sites, uint64_t offset) {
    perf_event_attr attr{};
    attr.size = sizeof(attr);
    attr.type = type;
    attr.config1 = reinterpret_cast<uint64_t>(sites.path.c_str());
    attr.config2 = offset;
    // The probe is there from the event's creation on and runs its programs whatever the event's
    // state, so the event stays off: context switches of the target then have less to do.
    attr.disabled = 1;
    // A CPU for all processes: the probe itself fires on every one.
    int pid = sites.pid.value_or(-1), cpu = sites.pid ? -1 : 0;
    long fd = syscall(SYS_perf_event_open, &attr, pid, cpu, -1, PERF_FLAG_FD_CLOEXEC);
    if (fd < 0)
        throw attach_failure(sites, errno);
    return Fd(static_cast<int>(fd));
}

// A BPF link carries a cookie (Linux 5.15, commit 82e6b1eee6a8) and keeps the event by itself.
static Fd attach_event(int program, Fd event, const UprobeSites &sites, uint64_t cookie) {
    LIBBPF_OPTS(bpf_link_create_opts, options);
    options.perf_event.bpf_cookie = cookie;
    int link = bpf_link_create(program, event.get(), BPF_PERF_EVENT, &options);
    if (link >= 0)
        return Fd(link);
    if (errno != EINVAL)
        throw attach_failure(sites, errno);
    if (ioctl(event.get(), PERF_EVENT_IOC_SET_BPF, program) != 0)
        throw attach_failure(sites, errno);
    return event;
}

std::vector<Fd> attach_uprobe_perf(int program, const UprobeSites &sites) {
    uint32_t type = uprobe_event_type();
    std::vector<Fd> fds;
    fds.reserve(sites.offsets.size());
    for (size_t i = 0; i < sites.offsets.size(); i++)
        fds.push_back(attach_event(program, open_event(type, sites, sites.offsets[i]), sites,
                                   sites.cookies[i]));
    return fds;
}
