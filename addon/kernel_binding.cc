#include "kernel_binding.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <sys/socket.h>

#include <ctime>
#include <system_error>
#include <thread>

#include "arguments.h"
#include "attach_kernel.h"
#include "attach_multi.h"
#include "attach_perf.h"
#include "calibration.h"
#include "features.h"
#include "kernel_types.h"
#include "lease.h"
#include "link.h"
#include "map_binding.h"
#include "object.h"
#include "reader_binding.h"
#include "task.h"

namespace {

class LinkHandle : public Napi::ObjectWrap<LinkHandle> {
  public:
    using Contents = std::shared_ptr<Link>;

    explicit LinkHandle(const Napi::CallbackInfo &info)
        : Napi::ObjectWrap<LinkHandle>(info), env_(info.Env()),
          link_(std::move(parcel_of<Contents>(info).contents)) {
        // Before handles are collected at the environment's end, when a thread would come too late.
        napi_add_env_cleanup_hook(env_, close_now, link_.get());
    }

    // Collected, so nobody can detach it any more. Closing takes long and must hold up nobody.
    ~LinkHandle() override {
        napi_remove_env_cleanup_hook(env_, close_now, link_.get());
        if (link_->closing())
            return;
        try {
            std::thread([link = link_] { link->close(); }).detach();
        } catch (const std::system_error &) {
            link_->close();
        }
    }

    static Napi::Function define(Napi::Env env) {
        return DefineClass(env, "Link",
                           {InstanceAccessor<&LinkHandle::sites>("sites"),
                            InstanceMethod<&LinkHandle::detach>("detach")});
    }

  private:
    static void close_now(void *link) { static_cast<Link *>(link)->close(); }

    Napi::Value sites(const Napi::CallbackInfo &info) {
        return Napi::Number::New(info.Env(), static_cast<double>(link_->sites()));
    }

    // Whoever asks again waits for the same.
    Napi::Value detach(const Napi::CallbackInfo &info) {
        if (detached_.IsEmpty()) {
            Link::close_soon(link_);
            auto promise = Task<bool>::start(
                info.Env(),
                [link = link_] {
                    link->close();
                    return true;
                },
                [](Napi::Env env, bool &) { return env.Undefined(); });
            detached_ = Napi::Reference<Napi::Promise>::New(promise, 1);
        }
        return detached_.Value();
    }

    napi_env env_;
    Contents link_;
    Napi::Reference<Napi::Promise> detached_;
};

class ProgramsHandle : public Napi::ObjectWrap<ProgramsHandle> {
  public:
    struct Contents {
        Object object;
        bool multi;
        bool kprobe_multi;
    };

    explicit ProgramsHandle(const Napi::CallbackInfo &info)
        : Napi::ObjectWrap<ProgramsHandle>(info), classes_(parcel_of<Contents>(info).classes),
          contents_(std::move(parcel_of<Contents>(info).contents)) {}

    static Napi::Function define(Napi::Env env) {
        return DefineClass(env, "Programs",
                           {InstanceMethod<&ProgramsHandle::attach_uprobes>("attachUprobes"),
                            InstanceMethod<&ProgramsHandle::attach_kernel>("attachKernel"),
                            InstanceMethod<&ProgramsHandle::attach_tracepoint>("attachTracepoint"),
                            InstanceMethod<&ProgramsHandle::map>("map"),
                            InstanceMethod<&ProgramsHandle::run_times>("runTimes"),
                            InstanceMethod<&ProgramsHandle::close>("close")});
    }

  private:
    const Program &program(const std::string &name) const {
        if (closed_)
            throw closed_failure("Program " + name);
        for (const Program &program : contents_.object.programs)
            if (program.name == name)
                return program;
        throw NativeFailure{"BPF_FAILED", "There is no program " + name + " or it is not loaded", 0,
                            ""};
    }

    using Attach = std::function<std::vector<Fd>(int program)>;

    // The task has the program open for itself: it may be closed here meanwhile.
    Napi::Value attach(Napi::Env env, const Program &program, size_t sites, Attach attach) {
        auto fd = std::make_shared<Fd>(Fd::copy_of(program.fd.get()));
        return Task<LinkHandle::Contents>::start(
            env,
            [fd, sites, attach = std::move(attach)] {
                return Link::keep(attach(fd->get()), sites);
            },
            [classes = classes_](Napi::Env env, LinkHandle::Contents &link) -> Napi::Value {
                return make_handle(env, classes->link, classes, link);
            });
    }

    static UprobeSites sites_of(Napi::Value value) {
        auto object = object_of(value, "sites");
        UprobeSites sites;
        sites.path = string_of(object.Get("path"), "sites.path");
        if (!object.Get("pid").IsNull())
            sites.pid = static_cast<int>(whole_of(object.Get("pid"), INT32_MAX, "sites.pid"));
        sites.offsets = whole_numbers_of(object.Get("offsets"), "sites.offsets");
        sites.cookies = whole_numbers_of(object.Get("cookies"), "sites.cookies");
        if (sites.offsets.empty() || sites.offsets.size() != sites.cookies.size())
            throw wrong(value.Env(), "sites must have offsets and as many cookies");
        return sites;
    }

    Napi::Value attach_uprobes(const Napi::CallbackInfo &info) {
        std::string name = string_of(info[0], "program");
        UprobeSites sites = sites_of(info[1]);
        return guarded_promise(info.Env(), [&] {
            size_t count = sites.offsets.size();
            const Program &found = program(name);
            return attach(info.Env(), found, count,
                          [multi = contents_.multi, type = attach_type_of(found.section),
                           sites = std::move(sites)](int program) {
                              if (!multi)
                                  return attach_uprobe_perf(program, sites);
                              std::vector<Fd> fds;
                              fds.push_back(attach_uprobe_multi(program, sites, type));
                              return fds;
                          });
        });
    }

    static KernelSites kernel_sites_of(Napi::Value value) {
        auto object = object_of(value, "sites");
        KernelSites sites;
        sites.addresses = addresses_of(object.Get("addresses"), "sites.addresses");
        sites.cookies = whole_numbers_of(object.Get("cookies"), "sites.cookies");
        sites.returns = object.Get("returns").ToBoolean();
        if (sites.addresses.empty() || sites.addresses.size() != sites.cookies.size())
            throw wrong(value.Env(), "sites must have addresses and as many cookies");
        return sites;
    }

    static std::vector<Fd> attach_to_kernel(int program, const std::string &section, bool multi,
                                            const KernelSites &sites) {
        if (section == "kprobe" && !multi)
            return attach_kprobe_perf(program, sites);
        std::vector<Fd> fds;
        fds.push_back(section == "kprobe" ? attach_kprobe_multi(program, sites)
                                          : attach_trampoline(program));
        return fds;
    }

    Napi::Value attach_kernel(const Napi::CallbackInfo &info) {
        std::string name = string_of(info[0], "program");
        KernelSites sites = kernel_sites_of(info[1]);
        return guarded_promise(info.Env(), [&] {
            const Program &found = program(name);
            return attach(info.Env(), found, sites.addresses.size(),
                          [section = found.section, multi = contents_.kprobe_multi,
                           sites = std::move(sites)](int program) {
                              return attach_to_kernel(program, section, multi, sites);
                          });
        });
    }

    Napi::Value attach_tracepoint(const Napi::CallbackInfo &info) {
        std::string name = string_of(info[0], "program");
        return guarded_promise(info.Env(), [&] {
            const Program &found = program(name);
            std::string tracepoint = found.section.substr(found.section.find('/') + 1);
            // A program whose arguments are typed knows its tracepoint since it was loaded.
            bool typed = found.section.rfind("tp_btf/", 0) == 0;
            return attach(info.Env(), found, 1, [tracepoint, typed](int program) {
                Fd link(bpf_raw_tracepoint_open(typed ? nullptr : tracepoint.c_str(), program));
                if (!link)
                    throw failure_of("ATTACH_FAILED", "Cannot attach to tracepoint " + tracepoint,
                                     errno);
                std::vector<Fd> fds;
                fds.push_back(std::move(link));
                return fds;
            });
        });
    }

    Napi::Value map(const Napi::CallbackInfo &info) {
        std::string name = string_of(info[0], "name");
        return guarded(info.Env(), [&] {
            if (closed_)
                throw closed_failure("Map " + name);
            for (const auto &map : contents_.object.maps)
                if (map->name() == name)
                    return make_handle(info.Env(), classes_->map, classes_, map);
            throw NativeFailure{"BPF_FAILED", "There is no map " + name, 0, ""};
        });
    }

    Napi::Value run_times(const Napi::CallbackInfo &info) {
        Napi::Env env = info.Env();
        return guarded(env, [&] {
            if (closed_)
                throw closed_failure("The BPF object");
            auto times = Napi::Array::New(env);
            for (const Program &program : contents_.object.programs) {
                bpf_prog_info found{};
                uint32_t size = sizeof(found);
                if (bpf_obj_get_info_by_fd(program.fd.get(), &found, &size) != 0)
                    throw failure_of("BPF_FAILED", "Cannot examine program " + program.name, errno);
                auto time = Napi::Object::New(env);
                auto number = [env](uint64_t value) {
                    return Napi::Number::New(env, static_cast<double>(value));
                };
                time.Set("program", program.name);
                time.Set("runTimeNs", number(found.run_time_ns));
                time.Set("runCount", number(found.run_cnt));
                time.Set("recursionMisses", number(found.recursion_misses));
                times.Set(times.Length(), time);
            }
            return times;
        });
    }

    void close(const Napi::CallbackInfo &) {
        closed_ = true;
        contents_.object.programs.clear();
        for (const auto &map : contents_.object.maps)
            map->close();
        contents_.object.maps.clear();
    }

    KernelClasses *classes_;
    Contents contents_;
    bool closed_ = false;
};

// Run-time statistics stay on for as long as its file descriptor is open.
class StatisticsHandle : public Napi::ObjectWrap<StatisticsHandle> {
  public:
    explicit StatisticsHandle(const Napi::CallbackInfo &info)
        : Napi::ObjectWrap<StatisticsHandle>(info), fd_(std::move(parcel_of<Fd>(info).contents)) {}

    static Napi::Function define(Napi::Env env) {
        return DefineClass(env, "RunTimeStatistics",
                           {InstanceMethod<&StatisticsHandle::close>("close")});
    }

  private:
    void close(const Napi::CallbackInfo &) { fd_ = Fd(); }
    Fd fd_;
};

std::vector<MapChange> map_changes_of(Napi::Value value) {
    std::vector<MapChange> changes;
    if (value.IsUndefined())
        return changes;
    auto maps = object_of(value, "maps");
    auto names = maps.GetPropertyNames();
    for (uint32_t i = 0; i < names.Length(); i++) {
        MapChange change;
        change.name = string_of(names.Get(i), "A map's name");
        auto wanted = object_of(maps.Get(change.name), "A map's change");
        if (!wanted.Get("maxEntries").IsUndefined())
            change.max_entries =
                static_cast<uint32_t>(whole_of(wanted.Get("maxEntries"), UINT32_MAX, "maxEntries"));
        change.perf_buffers = wanted.Get("perfBuffers").ToBoolean();
        if (!wanted.Get("reuse").IsUndefined()) {
            auto map = map_of(wanted.Get("reuse"));
            change.reuse = Fd::copy_of(map->fd());
            change.key_size = map->key_size();
            change.value_size = map->value_size();
            change.type = map->type();
        }
        changes.push_back(std::move(change));
    }
    return changes;
}

ObjectOptions object_options_of(Napi::Value value) {
    auto object = object_of(value, "options");
    ObjectOptions options;
    options.path = string_of(object.Get("object"), "options.object");
    std::string attach = string_of(object.Get("attach"), "options.attach");
    if (attach != "multi" && attach != "perf")
        throw wrong(value.Env(), "options.attach must be \"multi\" or \"perf\"");
    options.multi = attach == "multi";
    options.sleepable = object.Get("sleepable").ToBoolean();
    options.kprobe_multi = object.Get("kprobeMulti").ToBoolean();
    if (object.Get("kernelFunction").IsString())
        options.kernel_function = string_of(object.Get("kernelFunction"), "kernelFunction");
    if (!object.Get("settings").IsUndefined()) {
        auto settings = buffer_of(object.Get("settings"), "options.settings");
        options.settings.emplace(settings.Data(), settings.Data() + settings.Length());
    }
    options.maps = map_changes_of(object.Get("maps"));
    if (object.Get("programs").IsArray()) {
        auto programs = object.Get("programs").As<Napi::Array>();
        options.programs.emplace();
        for (uint32_t i = 0; i < programs.Length(); i++)
            options.programs->push_back(string_of(programs.Get(i), "A program's name"));
    }
    return options;
}

KernelClasses *classes_of(const Napi::CallbackInfo &info) {
    return static_cast<KernelClasses *>(info.Data());
}

Napi::Value load(const Napi::CallbackInfo &info) {
    return guarded_promise(info.Env(), [&]() -> Napi::Value {
        auto options = std::make_shared<ObjectOptions>(object_options_of(info[0]));
        return Task<Object>::start(
            info.Env(), [options] { return load_object(*options); },
            [classes = classes_of(info), options](Napi::Env env, Object &object) -> Napi::Value {
                return make_handle(env, classes->programs, classes,
                                   ProgramsHandle::Contents{std::move(object), options->multi,
                                                            options->kprobe_multi});
            });
    });
}

Napi::Value features(const Napi::CallbackInfo &info) {
    return Task<Features>::start(info.Env(), probe_features,
                                 [](Napi::Env env, Features &found) -> Napi::Value {
                                     auto result = Napi::Object::New(env);
                                     result.Set("btf", found.btf);
                                     result.Set("ringBuffer", found.ring_buffer);
                                     result.Set("cookies", found.cookies);
                                     result.Set("uprobeMulti", found.uprobe_multi);
                                     result.Set("uprobeMultiThreads", found.uprobe_multi_threads);
                                     result.Set("uprobeSession", found.uprobe_session);
                                     result.Set("sleepable", found.sleepable);
                                     result.Set("atomics", found.atomics);
                                     result.Set("findsMappings", found.finds_mappings);
                                     result.Set("writesRegisters", found.writes_registers);
                                     result.Set("runTimeStatistics", found.run_time_statistics);
                                     result.Set("kprobes", found.kprobes);
                                     result.Set("kprobeMulti", found.kprobe_multi);
                                     result.Set("fentry", found.fentry);
                                     return result;
                                 });
}

Napi::Value calibrate(const Napi::CallbackInfo &info) {
    return guarded_promise(info.Env(), [&]() -> Napi::Value {
        auto object = object_of(info[0], "options");
        auto is = [&](const char *name) -> bool { return object.Get(name).ToBoolean(); };
        CalibrationOptions options{is("uprobeMulti"), is("uprobeMultiThreads"), is("uprobeSession"),
                                   is("writesRegisters"), is("sleepable")};
        return Task<Calibration>::start(
            info.Env(), [options] { return calibrate(options); },
            [](Napi::Env env, Calibration &found) -> Napi::Value {
                auto number_or_null = [&](const std::optional<double> &value) -> Napi::Value {
                    return value ? Napi::Number::New(env, *value).As<Napi::Value>() : env.Null();
                };
                auto result = Napi::Object::New(env);
                result.Set("pushNs", found.push);
                result.Set("jumpNs", found.jump);
                result.Set("moveNs", found.move);
                result.Set("returnNs", found.ret);
                result.Set("sessionNs", number_or_null(found.session));
                result.Set("carriedOutNs", number_or_null(found.carried_out));
                result.Set("besideNs", found.beside);
                return result;
            });
    });
}

std::vector<std::string> strings_of(Napi::Value value, const char *what) {
    if (!value.IsArray())
        throw wrong(value.Env(), std::string(what) + " must be an array");
    auto array = value.As<Napi::Array>();
    std::vector<std::string> strings;
    for (uint32_t i = 0; i < array.Length(); i++)
        strings.push_back(string_of(array.Get(i), what));
    return strings;
}

Napi::Object to_kernel_value(Napi::Env env, const KernelValue &value) {
    auto object = Napi::Object::New(env);
    object.Set("function", value.function);
    object.Set("parameters", value.parameters);
    object.Set("path", value.path);
    object.Set("reason", value.reason.empty() ? env.Null() : Napi::String::New(env, value.reason));
    object.Set("register", value.register_index);
    auto steps = Napi::Array::New(env);
    for (uint32_t step : value.steps)
        steps.Set(steps.Length(), step);
    object.Set("steps", steps);
    object.Set("kind", value.kind);
    object.Set("size", value.size);
    object.Set("type", value.type);
    return object;
}

Napi::Value read_kernel_values(const Napi::CallbackInfo &info) {
    auto functions = strings_of(info[0], "functions");
    auto paths = strings_of(info[1], "paths");
    bool results = info[2].ToBoolean();
    return Task<std::vector<KernelValue>>::start(
        info.Env(),
        [functions, paths, results] { return kernel_values(functions, paths, results); },
        [](Napi::Env env, std::vector<KernelValue> &values) -> Napi::Value {
            auto result = Napi::Array::New(env);
            for (const KernelValue &value : values)
                result.Set(result.Length(), to_kernel_value(env, value));
            return result;
        });
}

Napi::Value kernel_return_distance(const Napi::CallbackInfo &info) {
    bool multi = info[0].ToBoolean();
    return Task<std::optional<int64_t>>::start(
        info.Env(), [multi] { return return_distance(multi); },
        [](Napi::Env env, std::optional<int64_t> &distance) -> Napi::Value {
            if (!distance)
                return env.Null();
            return Napi::Number::New(env, static_cast<double>(*distance));
        });
}

Napi::Value read_ring(const Napi::CallbackInfo &info) {
    return start_reader(info, classes_of(info));
}

Napi::Value enable_run_time_statistics(const Napi::CallbackInfo &info) {
    return guarded(info.Env(), [&] {
        Fd fd(bpf_enable_stats(BPF_STATS_RUN_TIME));
        if (!fd)
            throw failure_of("BPF_UNSUPPORTED", "Cannot switch on run-time statistics", errno);
        return make_handle(info.Env(), classes_of(info)->statistics, classes_of(info),
                           std::move(fd));
    });
}

Napi::Value lease_file(const Napi::CallbackInfo &info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
        auto lease = std::make_shared<Lease>(string_of(info[0], "path"));
        auto handle = Napi::Object::New(info.Env());
        handle.Set("isBroken",
                   Napi::Function::New(info.Env(), [lease](const Napi::CallbackInfo &info) {
                       return Napi::Boolean::New(info.Env(), lease->broken());
                   }));
        handle.Set("close", Napi::Function::New(info.Env(), [lease](const Napi::CallbackInfo &) {
                       lease->close();
                   }));
        return handle;
    });
}

int64_t nanoseconds(clockid_t clock) {
    timespec time{};
    clock_gettime(clock, &time);
    return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

// The two clocks cannot be read at once; of some attempts the one that took least time counts.
Napi::Value clock_offset(const Napi::CallbackInfo &info) {
    int64_t best = INT64_MAX, offset = 0;
    for (int i = 0; i < 16; i++) {
        int64_t before = nanoseconds(CLOCK_MONOTONIC);
        int64_t real = nanoseconds(CLOCK_REALTIME);
        int64_t after = nanoseconds(CLOCK_MONOTONIC);
        if (after - before < best) {
            best = after - before;
            offset = real - before - best / 2;
        }
    }
    return Napi::BigInt::New(info.Env(), offset);
}

// Who opened the other end of a Unix socket, as the kernel noted it then; null where there is none.
Napi::Value peer_credentials(const Napi::CallbackInfo &info) {
    ucred peer{};
    socklen_t length = sizeof peer;
    if (!info[0].IsNumber() || getsockopt(info[0].As<Napi::Number>().Int32Value(), SOL_SOCKET,
                                          SO_PEERCRED, &peer, &length) != 0)
        return info.Env().Null();
    // A socket of another family knows nobody. The pid is 0 for a process that cannot be seen here.
    if (peer.uid == static_cast<uid_t>(-1))
        return info.Env().Null();
    auto result = Napi::Object::New(info.Env());
    result.Set("pid", peer.pid);
    result.Set("uid", peer.uid);
    return result;
}

} // namespace

void init_kernel(Napi::Env env, Napi::Object exports) {
    auto *classes = new KernelClasses{
        Napi::Persistent(define_map(env)), Napi::Persistent(ProgramsHandle::define(env)),
        Napi::Persistent(LinkHandle::define(env)), Napi::Persistent(define_reader(env)),
        Napi::Persistent(StatisticsHandle::define(env))};
    env.AddCleanupHook([](KernelClasses *classes) { delete classes; }, classes);
    auto add = [&](const char *name, Napi::Value (*function)(const Napi::CallbackInfo &)) {
        exports.Set(name, Napi::Function::New(env, function, name, classes));
    };
    add("load", load);
    add("features", features);
    add("calibrate", calibrate);
    add("kernelReturnDistance", kernel_return_distance);
    add("kernelValues", read_kernel_values);
    add("read", read_ring);
    add("enableRunTimeStatistics", enable_run_time_statistics);
    add("leaseFile", lease_file);
    add("clockOffset", clock_offset);
    add("peerCredentials", peer_credentials);
}
