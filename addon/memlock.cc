#include "memlock.h"

#include <sys/resource.h>

#include <cerrno>

#include "features.h"

std::optional<NativeFailure> locked_memory_failure(int error_number) {
    if (error_number != EPERM && error_number != ENOMEM)
        return std::nullopt;
    rlimit limit{};
    if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return std::nullopt;
    // libbpf raises the limit where that matters, unless the right to do so is missing.
    if (!counts_locked_memory())
        return std::nullopt;
    return NativeFailure{"BPF_NOT_PERMITTED",
                         "This kernel counts BPF maps as locked memory, which is limited to " +
                             std::to_string(limit.rlim_cur >> 10) +
                             " KiB here: raise it (ulimit -l unlimited, or LimitMEMLOCK=infinity "
                             "in a systemd unit), or grant CAP_SYS_RESOURCE",
                         error_number, ""};
}
