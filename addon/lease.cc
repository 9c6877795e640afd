#include "lease.h"

Lease::Lease(const std::string &path) : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (!fd_)
        throw failure_of("BPF_FAILED", "Cannot open " + path, errno);
    if (fcntl(fd_.get(), F_SETLEASE, F_RDLCK) != 0)
        throw failure_of("BPF_UNSUPPORTED", "Cannot take a lease on " + path, errno);
}

bool Lease::broken() const {
    // While a lease is being broken the kernel names what it has to become.
    return !fd_ || fcntl(fd_.get(), F_GETLEASE) != F_RDLCK;
}
