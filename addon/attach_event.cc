#include "attach_event.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>

// A BPF link carries a cookie (Linux 5.15, commit 82e6b1eee6a8) and keeps the event by itself.
int attach_event(int program, Fd &event, uint64_t cookie) {
    LIBBPF_OPTS(bpf_link_create_opts, options);
    options.perf_event.bpf_cookie = cookie;
    int link = bpf_link_create(program, event.get(), BPF_PERF_EVENT, &options);
    if (link >= 0)
        event = Fd(link);
    else if (errno != EINVAL || ioctl(event.get(), PERF_EVENT_IOC_SET_BPF, program) != 0)
        return -errno;
    return 0;
}
