// Empties a transport on a thread of its own. Records are sent without a wake-up, which the traced
// thread would pay for, so the thread looks by the clock: often while records come, ever more
// seldom while none do.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "flag.h"
#include "transport.h"

// Called on the reader's thread, in the order in which things happened. False: nobody listens
// any more, and the reader ends.
class ReaderListener {
  public:
    virtual ~ReaderListener() = default;
    virtual bool batch(Transport::Taken batch) = 0;
    virtual bool drained(uint64_t ticket) = 0;
    virtual bool flagged() = 0;
    // The last call. `listening` is false after one of the others has said so.
    virtual void stopped(bool listening) = 0;
};

class TransportReader {
  public:
    struct Options {
        std::chrono::milliseconds interval;
        size_t batch_bytes;
        size_t max_pending;
    };

    // `flag` may be null.
    TransportReader(std::unique_ptr<Transport> transport, std::unique_ptr<Flag> flag,
                    Options options, ReaderListener &listener);
    ~TransportReader();

    // A batch that was handed over has been dealt with.
    void taken();
    // drained() follows when all that has been sent by now has been handed over.
    void drain(uint64_t ticket);
    // flagged() follows, once, when the flag is found to be set; it may be by now.
    void watch();
    // stopped() follows.
    void stop();
    void join();

  private:
    struct Drain {
        uint64_t ticket;
        uint64_t until;
        std::optional<std::chrono::steady_clock::time_point> stuck_since;
    };
    void run();
    bool read_on(std::unique_lock<std::mutex> &lock);
    bool tell_of_flag(std::unique_lock<std::mutex> &lock);
    bool finish_drains(std::unique_lock<std::mutex> &lock, bool more);

    const std::unique_ptr<Transport> transport_;
    const std::unique_ptr<Flag> flag_;
    const Options options_;
    ReaderListener &listener_;

    std::mutex mutex_; // of everything below
    std::condition_variable wake_;
    std::deque<Drain> drains_;
    std::chrono::milliseconds pause_;
    size_t pending_ = 0;
    bool asked_ = false;
    bool watching_ = false;
    bool stopping_ = false;
    bool listening_ = true;

    std::thread thread_;
};
