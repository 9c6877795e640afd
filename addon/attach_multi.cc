#include "attach_multi.h"

#include <sys/syscall.h>
#include <unistd.h>

int create_uprobe_multi_link(int program, const UprobeSites &sites, bpf_attach_type type) {
    UprobeMultiAttr attr{};
    attr.prog_fd = static_cast<uint32_t>(program);
    attr.attach_type = type;
    attr.path = reinterpret_cast<uint64_t>(sites.path.c_str());
    attr.offsets = reinterpret_cast<uint64_t>(sites.offsets.data());
    attr.cookies = reinterpret_cast<uint64_t>(sites.cookies.data());
    attr.count = static_cast<uint32_t>(sites.offsets.size());
    attr.pid = static_cast<uint32_t>(sites.pid.value_or(0));
    // libbpf before 1.3 has no call for it.
    long fd = syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));
    return fd >= 0 ? static_cast<int>(fd) : -errno;
}

Fd attach_uprobe_multi(int program, const UprobeSites &sites, bpf_attach_type type) {
    int fd = create_uprobe_multi_link(program, sites, type);
    if (fd < 0)
        throw attach_failure(sites, -fd);
    return Fd(fd);
}
