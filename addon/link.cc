#include "link.h"

#include <map>
#include <system_error>
#include <thread>

namespace {

struct OpenLinks {
    std::mutex mutex;
    std::map<Link *, std::shared_ptr<Link>> links;
};

// Never destroyed: a thread that closes a link may outlast every static object.
OpenLinks &open_links() {
    static auto *open = new OpenLinks;
    return *open;
}

// process.exit() runs no hooks of the environment, but what libc runs at exit.
__attribute__((destructor)) void close_all() {
    std::map<Link *, std::shared_ptr<Link>> links;
    {
        std::lock_guard lock(open_links().mutex);
        links = open_links().links;
    }
    for (const auto &[key, link] : links)
        link->close();
}

} // namespace

std::shared_ptr<Link> Link::keep(std::vector<Fd> fds, size_t sites) {
    std::shared_ptr<Link> link(new Link(std::move(fds), sites));
    std::lock_guard lock(open_links().mutex);
    open_links().links.emplace(link.get(), link);
    return link;
}

void Link::close_soon(const std::shared_ptr<Link> &link) {
    // Where each site has a link of its own there may be thousands.
    constexpr int AT_ONCE = 32;
    static std::atomic<int> running = 0;
    if (running >= AT_ONCE)
        return;
    running++;
    try {
        std::thread([link] {
            link->close();
            running--;
        }).detach();
    } catch (const std::system_error &) {
        running--;
    }
}

void Link::close() {
    closing_ = true;
    {
        std::lock_guard lock(mutex_);
        fds_.clear();
    }
    // Its owner calls this, so it outlives the registry's hold on it.
    std::lock_guard lock(open_links().mutex);
    open_links().links.erase(this);
}
