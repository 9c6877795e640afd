// What keeps probes in place.
//
// Taking probes out of their targets must not be cut short. The kernel gives up when the thread
// that closes the link is being killed ("failed to unregister, leaking uprobe") and leaves the
// breakpoints in the target, and an exiting process kills all its threads but one. So links that
// are open, or being closed, when the process exits are closed before it goes on.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "fd.h"

class Link {
  public:
    // On the thread that attached, so that none is missed.
    static std::shared_ptr<Link> keep(std::vector<Fd> fds, size_t sites);

    size_t sites() const { return sites_; }
    // Somebody closes it or has done so. Does not wait.
    bool closing() const { return closing_; }
    // Returns when the probes are gone, also if another thread is at it already.
    void close();
    // Begins to close it on a thread of its own, unless too many do so; close() is still to be
    // called. The kernel takes some 50 ms a link, most of which it waits: on libuv's four threads
    // one link would wait for the others.
    static void close_soon(const std::shared_ptr<Link> &link);

  private:
    Link(std::vector<Fd> fds, size_t sites) : sites_(sites), fds_(std::move(fds)) {}

    const size_t sites_;
    std::atomic<bool> closing_ = false;
    std::mutex mutex_; // of fds_, and held until they are closed
    std::vector<Fd> fds_;
};
