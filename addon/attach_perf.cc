#include "attach_perf.h"

#include <linux/perf_event.h>
#include <sys/syscall.h>

#include <fstream>

#include "attach_event.h"

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

std::vector<Fd> attach_uprobe_perf(int program, const UprobeSites &sites) {
    uint32_t type = uprobe_event_type();
    std::vector<Fd> fds;
    fds.reserve(sites.offsets.size());
    for (size_t i = 0; i < sites.offsets.size(); i++) {
        Fd event = open_event(type, sites, sites.offsets[i]);
        if (int failed = attach_event(program, event, sites.cookies[i]))
            throw attach_failure(sites, -failed);
        fds.push_back(std::move(event));
    }
    return fds;
}
