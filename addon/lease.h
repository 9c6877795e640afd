// A read lease on a file: whoever opens it for writing waits until the lease is given up, and the
// process gets SIGIO (fcntl(2), "Leases"). Breakpoints that the kernel keeps ready for a file would
// otherwise be put into other instructions once it is written over.
#pragma once

#include <string>

#include "fd.h"

class Lease {
  public:
    // Throws BPF_UNSUPPORTED where the file system has no leases, or somebody writes to the file.
    explicit Lease(const std::string &path);

    // Somebody waits for it to be given up.
    bool broken() const;
    void close() { fd_ = Fd(); }

  private:
    Fd fd_;
};
