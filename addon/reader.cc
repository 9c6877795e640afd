#include "reader.h"

#include <pthread.h>

#include <algorithm>

using namespace std::chrono_literals;

// 20 looks a second where nothing comes cost about 0.1 % of a CPU. No fewer: a million calls that
// begin a second write records of 128 bytes, 6.4 MB in that time, and the ring has 8 MiB by
// default.
static constexpr auto IDLE_PAUSE = 50ms;
// While somebody waits for a record that is reserved and not yet submitted, or held back.
static constexpr auto DRAIN_PAUSE = 1ms;
// A program may be held up between the two by its target's memory (a sleepable program that
// faults in a page). Then the record does not count as being in the ring.
static constexpr auto DRAIN_PATIENCE = 1s;

TransportReader::TransportReader(std::unique_ptr<Transport> transport, std::unique_ptr<Flag> flag,
                                 Options options, ReaderListener &listener)
    : transport_(std::move(transport)), flag_(std::move(flag)), options_(options),
      listener_(listener), pause_(options.interval) {
    thread_ = std::thread([this] { run(); });
}

TransportReader::~TransportReader() {
    stop();
    join();
}

void TransportReader::taken() {
    std::lock_guard lock(mutex_);
    pending_--;
    wake_.notify_one();
}

void TransportReader::drain(uint64_t ticket) {
    std::lock_guard lock(mutex_);
    drains_.push_back({ticket, transport_->produced(), std::nullopt});
    asked_ = true;
    wake_.notify_one();
}

// The thread is not woken for it: it looks soon enough.
void TransportReader::watch() {
    std::lock_guard lock(mutex_);
    watching_ = flag_ != nullptr;
}

void TransportReader::stop() {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    wake_.notify_one();
}

void TransportReader::join() {
    if (thread_.joinable())
        thread_.join();
}

void TransportReader::run() {
    pthread_setname_np(pthread_self(), "underspan-ring");
    std::unique_lock lock(mutex_);
    while (!stopping_ && listening_) {
        // Left to fill: what does not fit is counted by the programs, memory here is bounded.
        if (pending_ >= options_.max_pending) {
            wake_.wait(lock, [this] { return stopping_ || pending_ < options_.max_pending; });
            continue;
        }
        bool more = read_on(lock);
        if (!tell_of_flag(lock) || !finish_drains(lock, more) || more)
            continue;
        auto pause = drains_.empty() ? pause_ : std::chrono::milliseconds(DRAIN_PAUSE);
        wake_.wait_for(lock, pause, [this] { return stopping_ || asked_; });
        asked_ = false;
    }
    bool listening = listening_;
    lock.unlock();
    listener_.stopped(listening);
}

// Hands over one batch, if there is one. Returns whether more records are ready.
bool TransportReader::read_on(std::unique_lock<std::mutex> &lock) {
    lock.unlock();
    Transport::Taken batch = transport_->take(options_.batch_bytes);
    lock.lock();
    if (batch.size == 0) {
        pause_ = std::min(pause_ * 2,
                          std::max<std::chrono::milliseconds>(options_.interval, IDLE_PAUSE));
        return false;
    }
    pause_ = options_.interval;
    pending_++;
    bool more = batch.more;
    lock.unlock();
    bool listening = listener_.batch(std::move(batch));
    lock.lock();
    listening_ = listening;
    return more;
}

// Returns false when nobody listens any more.
bool TransportReader::tell_of_flag(std::unique_lock<std::mutex> &lock) {
    if (!listening_ || !watching_ || !flag_->is_set())
        return listening_;
    watching_ = false;
    lock.unlock();
    bool listening = listener_.flagged();
    lock.lock();
    listening_ = listening;
    return listening_;
}

// The same.
bool TransportReader::finish_drains(std::unique_lock<std::mutex> &lock, bool more) {
    while (listening_ && !drains_.empty()) {
        Drain &drain = drains_.front();
        if (transport_->consumed() < drain.until) {
            if (more)
                break;
            auto now = std::chrono::steady_clock::now();
            if (!drain.stuck_since)
                drain.stuck_since = now;
            if (now - *drain.stuck_since < DRAIN_PATIENCE)
                break;
        }
        uint64_t ticket = drain.ticket;
        drains_.pop_front();
        lock.unlock();
        bool listening = listener_.drained(ticket);
        lock.lock();
        listening_ = listening;
    }
    return listening_;
}
