#include "reader_binding.h"

#include <linux/bpf.h>

#include <map>
#include <vector>

#include "arguments.h"
#include "map_binding.h"
#include "perf_buffers.h"
#include "reader.h"
#include "ring.h"

namespace {

// On its way from the reader's thread to JavaScript; order is kept.
struct Message {
    enum { BATCH, DRAINED, FLAGGED, STOPPED } kind;
    Transport::Taken batch;
    uint64_t ticket = 0;
};

class ReaderHandle;
void deliver(Napi::Env env, Napi::Function on_batch, ReaderHandle *reader, Message *message);
using Channel = Napi::TypedThreadSafeFunction<ReaderHandle, Message, deliver>;

struct Start {
    std::unique_ptr<Transport> transport;
    std::unique_ptr<Flag> flag;
    TransportReader::Options options;
    Napi::Function on_batch;
    Napi::Function on_flag; // empty without a flag
};

class ReaderHandle : public Napi::ObjectWrap<ReaderHandle>, private ReaderListener {
  public:
    explicit ReaderHandle(const Napi::CallbackInfo &info) : Napi::ObjectWrap<ReaderHandle>(info) {
        Start &start = parcel_of<Start>(info).contents;
        channel_ = Channel::New(info.Env(), start.on_batch, "underspan-ring", 0, 1, this);
        // Reading alone keeps no process alive.
        channel_.Unref(info.Env());
        if (start.flag)
            on_flag_ = Napi::Persistent(start.on_flag);
        ReaderListener &listener = *this;
        reader_ = std::make_unique<TransportReader>(std::move(start.transport),
                                                    std::move(start.flag), start.options, listener);
        // Not collected while it reads.
        Ref();
        // Hooks run in reverse: this one before the channel's own, which frees the channel.
        napi_add_env_cleanup_hook(info.Env(), abandon, this);
    }

    static Napi::Function define(Napi::Env env) {
        return DefineClass(env, "Reader",
                           {InstanceMethod<&ReaderHandle::drain>("drain"),
                            InstanceMethod<&ReaderHandle::watch_flag>("watchFlag"),
                            InstanceMethod<&ReaderHandle::stop>("stop")});
    }

    void receive(Napi::Env env, Napi::Function on_batch, std::unique_ptr<Message> message) {
        switch (message->kind) {
        case Message::BATCH:
            return receive_batch(env, on_batch, std::move(message->batch));
        case Message::DRAINED: {
            auto drain = drains_.extract(message->ticket);
            if (!drain.empty())
                drain.mapped().Resolve(env.Undefined());
            return release(env);
        }
        case Message::FLAGGED:
            return call(env, on_flag_.Value(), {});
        case Message::STOPPED:
            return receive_stop(env);
        }
    }

  private:
    static void abandon(void *self) { static_cast<ReaderHandle *>(self)->reader_.reset(); }

    Napi::Value drain(const Napi::CallbackInfo &info) {
        Napi::Env env = info.Env();
        auto deferred = Napi::Promise::Deferred::New(env);
        if (stopping_) {
            deferred.Reject(to_js(env, closed_failure("The reader")).Value());
            return deferred.Promise();
        }
        hold(env);
        drains_.emplace(++ticket_, deferred);
        reader_->drain(ticket_);
        return deferred.Promise();
    }

    void watch_flag(const Napi::CallbackInfo &info) {
        if (on_flag_.IsEmpty())
            throw wrong(info.Env(), "The reader was given no flag");
        if (!stopping_)
            reader_->watch();
    }

    Napi::Value stop(const Napi::CallbackInfo &info) {
        Napi::Env env = info.Env();
        auto deferred = Napi::Promise::Deferred::New(env);
        if (stopped_) {
            deferred.Resolve(env.Undefined());
            return deferred.Promise();
        }
        stops_.push_back(deferred);
        if (!stopping_) {
            stopping_ = true;
            hold(env);
            reader_->stop();
        }
        return deferred.Promise();
    }

    void receive_batch(Napi::Env env, Napi::Function on_batch, Transport::Taken batch) {
        uint8_t *bytes = batch.bytes.release();
        auto buffer = Napi::Buffer<uint8_t>::NewOrCopy(
            env, bytes, batch.size, [](Napi::Env, uint8_t *data) { delete[] data; });
        take_later(env);
        call(env, on_batch, {buffer});
    }

    static void call(Napi::Env env, Napi::Function callback,
                     std::initializer_list<napi_value> arguments) {
        napi_value result, exception;
        if (napi_call_function(env, env.Undefined(), callback, arguments.size(), arguments.begin(),
                               &result) == napi_pending_exception &&
            napi_get_and_clear_last_exception(env, &exception) == napi_ok)
            // An uncaught exception as from any event; by itself Node only warns of it here.
            napi_fatal_exception(env, exception);
    }

    // Node hands over messages for as long as there are any before it looks at anything else: so
    // the next batch may be sent in the next turn of the event loop at the earliest.
    void take_later(Napi::Env env) {
        if (later_.IsEmpty()) {
            later_ = Napi::Persistent(env.Global().Get("setImmediate").As<Napi::Function>());
            taken_ = Napi::Persistent(
                Napi::Function::New(env, [this](const Napi::CallbackInfo &) { taken(); }));
        }
        // Not collected until then.
        Ref();
        napi_value argument = taken_.Value(), result;
        if (napi_call_function(env, env.Undefined(), later_.Value(), 1, &argument, &result) !=
            napi_ok)
            taken();
    }
    void taken() {
        if (reader_)
            reader_->taken();
        Unref();
    }

    void receive_stop(Napi::Env env) {
        reader_->join();
        napi_remove_env_cleanup_hook(env, abandon, this);
        stopped_ = true;
        for (auto &[ticket, drain] : drains_)
            drain.Reject(to_js(env, closed_failure("The reader")).Value());
        drains_.clear();
        for (auto &deferred : stops_)
            deferred.Resolve(env.Undefined());
        stops_.clear();
        reader_.reset();
        Unref();
    }

    // Somebody waits: the process must stay until that is settled.
    void hold(Napi::Env env) {
        if (waiting_++ == 0)
            channel_.Ref(env);
    }
    void release(Napi::Env env) {
        if (--waiting_ == 0)
            channel_.Unref(env);
    }

    bool send(std::unique_ptr<Message> message) {
        if (channel_.NonBlockingCall(message.get()) != napi_ok)
            return false;
        message.release();
        return true;
    }
    bool batch(Transport::Taken batch) override {
        return send(std::make_unique<Message>(Message{Message::BATCH, std::move(batch), 0}));
    }
    bool drained(uint64_t ticket) override {
        return send(std::make_unique<Message>(Message{Message::DRAINED, {}, ticket}));
    }
    bool flagged() override {
        return send(std::make_unique<Message>(Message{Message::FLAGGED, {}, 0}));
    }
    void stopped(bool listening) override {
        // A channel that refused a message has let go of this thread already.
        if (listening && send(std::make_unique<Message>(Message{Message::STOPPED, {}, 0})))
            channel_.Release();
    }

    Channel channel_;
    std::unique_ptr<TransportReader> reader_;
    std::map<uint64_t, Napi::Promise::Deferred> drains_;
    std::vector<Napi::Promise::Deferred> stops_;
    Napi::FunctionReference on_flag_;
    Napi::FunctionReference later_;
    Napi::FunctionReference taken_;
    uint64_t ticket_ = 0;
    size_t waiting_ = 0;
    bool stopping_ = false;
    bool stopped_ = false;
};

void deliver(Napi::Env env, Napi::Function on_batch, ReaderHandle *reader, Message *message) {
    std::unique_ptr<Message> owned(message);
    // Without an environment the process is on its way out and only wants the memory back.
    if (static_cast<napi_env>(env) != nullptr)
        reader->receive(env, on_batch, std::move(owned));
}

} // namespace

Napi::Function define_reader(Napi::Env env) { return ReaderHandle::define(env); }

static std::unique_ptr<Transport> open_transport(const Map &map, size_t perf_bytes) {
    int fd = map.fd();
    switch (map.type()) {
    case BPF_MAP_TYPE_RINGBUF:
        return std::make_unique<Ring>(fd, map.max_entries());
    case BPF_MAP_TYPE_PERF_EVENT_ARRAY:
        return std::make_unique<PerfBuffers>(fd, map.max_entries(), perf_bytes);
    default:
        throw NativeFailure{"BPF_UNSUPPORTED", "No records come through map " + map.name(), 0, ""};
    }
}

Napi::Value start_reader(const Napi::CallbackInfo &info, KernelClasses *classes) {
    Napi::Env env = info.Env();
    auto map = map_of(info[0]);
    auto options = object_of(info[1], "options");
    if (!info[2].IsFunction())
        throw wrong(env, "onBatch must be a function");
    size_t perf_bytes = options.Get("perfBytes").IsUndefined()
                            ? 1 << 22
                            : whole_of(options.Get("perfBytes"), 1ULL << 32, "perfBytes");
    Start start{nullptr,
                nullptr,
                {std::chrono::milliseconds(std::max<uint64_t>(
                     1, whole_of(options.Get("intervalMs"), 60000, "intervalMs"))),
                 whole_of(options.Get("batchBytes"), 1 << 30, "batchBytes"),
                 std::max<uint64_t>(1, whole_of(options.Get("maxPending"), 1 << 20, "maxPending"))},
                info[2].As<Napi::Function>(),
                {}};
    std::shared_ptr<Map> flag;
    if (!options.Get("flag").IsUndefined()) {
        auto wanted = object_of(options.Get("flag"), "flag");
        flag = map_of(wanted.Get("map"));
        if (!wanted.Get("onSet").IsFunction())
            throw wrong(env, "onSet must be a function");
        start.on_flag = wanted.Get("onSet").As<Napi::Function>();
    }
    return guarded(env, [&] {
        if (flag)
            start.flag = std::make_unique<Flag>(*flag);
        start.transport = open_transport(*map, perf_bytes);
        return make_handle(env, classes->reader, classes, std::move(start));
    });
}
