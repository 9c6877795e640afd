// A file descriptor that is closed with its owner.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "errors.h"

class Fd {
  public:
    Fd() = default;
    explicit Fd(int fd) : fd_(fd) {}
    Fd(Fd &&other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Fd &operator=(Fd &&other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~Fd() {
        if (fd_ >= 0)
            close(fd_);
    }

    int get() const { return fd_; }
    explicit operator bool() const { return fd_ >= 0; }

    static Fd copy_of(int fd) {
        Fd copy(fcntl(fd, F_DUPFD_CLOEXEC, 0));
        if (!copy)
            throw failure_of("BPF_FAILED", "Cannot keep another file open", errno);
        return copy;
    }

  private:
    int fd_ = -1;
};
