#include "memlock.h"

#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "features.h"

// Without these every load is refused, whatever the limit, and what was asked of the kernel to
// learn how it counts was refused as well.
static bool may_load_programs() {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3]{};
    if (syscall(SYS_capget, &header, sets) != 0)
        return false;
    constexpr int kSysAdmin = 21, kBpf = 39;
    return (sets[0].effective & (1U << kSysAdmin)) || (sets[1].effective & (1U << (kBpf - 32)));
}

std::optional<NativeFailure> locked_memory_failure(int error_number) {
    if (error_number != EPERM && error_number != ENOMEM)
        return std::nullopt;
    rlimit limit{};
    if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return std::nullopt;
    // libbpf raises the limit where that matters, unless the right to do so is missing.
    if (!may_load_programs() || !counts_locked_memory())
        return std::nullopt;
    return NativeFailure{"BPF_NOT_PERMITTED",
                         "This kernel counts BPF maps as locked memory, which is limited to " +
                             std::to_string(limit.rlim_cur >> 10) +
                             " KiB here: raise it (ulimit -l unlimited, or LimitMEMLOCK=infinity "
                             "in a systemd unit), or grant CAP_SYS_RESOURCE",
                         error_number, ""};
}
