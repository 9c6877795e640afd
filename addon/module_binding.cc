#include "module_binding.h"

#include <charconv>
#include <chrono>

#include "arguments.h"
#include "conversions.h"
#include "go_tls.h"
#include "handles.h"
#include "module.h"
#include "module_values.h"
#include "native_binding.h"
#include "task.h"
#include "unwinders.h"

namespace {

using Clock = std::chrono::steady_clock;

// DWARF is asked in bursts while a plan is made; afterwards its memory is worth more.
constexpr int IDLE_MS = 2000;

// A module and who is using it. Belongs to the JavaScript thread.
struct OpenModule {
    std::shared_ptr<ModuleFile> file; // null: closed
    unsigned uses = 0;
    bool timer_set = false;
    Clock::time_point last_use;
};

// Lives as long as a task, which ends on the JavaScript thread.
class Use {
  public:
    explicit Use(std::shared_ptr<OpenModule> module) : module_(std::move(module)) {
        module_->uses++;
    }
    Use(const Use &) = delete;
    Use &operator=(const Use &) = delete;
    ~Use() {
        module_->uses--;
        module_->last_use = Clock::now();
    }

  private:
    std::shared_ptr<OpenModule> module_;
};

Napi::Array array_of(Napi::Value value, const char *what) {
    if (!value.IsArray())
        throw wrong(value.Env(), std::string(what) + " must be an array");
    return value.As<Napi::Array>();
}

// Files can ask for more memory than there is.
template <typename Body> auto within_memory(Body body) -> decltype(body()) {
    try {
        return body();
    } catch (const std::bad_alloc &) {
        malformed("its tables are too large for the memory");
    } catch (const std::length_error &) {
        malformed("its tables are too large");
    }
}

// Drops the DWARF sections when nobody has asked for a while; asked for again, they are read anew.
void trim_when_idle(Napi::Env env, const std::shared_ptr<OpenModule> &module) {
    if (module->timer_set)
        return;
    module->timer_set = true;
    std::weak_ptr<OpenModule> weak = module;
    auto callback = Napi::Function::New(env, [weak](const Napi::CallbackInfo &info) {
        std::shared_ptr<OpenModule> module = weak.lock();
        if (!module)
            return;
        module->timer_set = false;
        auto idle = Clock::now() - module->last_use;
        if (module->uses > 0 || idle < std::chrono::milliseconds(IDLE_MS))
            trim_when_idle(info.Env(), module);
        else if (module->file)
            module->file->trim();
    });
    auto set_timeout = env.Global().Get("setTimeout").As<Napi::Function>();
    auto timer = set_timeout.Call({callback, Napi::Number::New(env, IDLE_MS)}).As<Napi::Object>();
    timer.Get("unref").As<Napi::Function>().Call(timer, {});
}

class ModuleHandle : public Napi::ObjectWrap<ModuleHandle> {
  public:
    explicit ModuleHandle(const Napi::CallbackInfo &info) : Napi::ObjectWrap<ModuleHandle>(info) {
        if (info.Length() != 1 || !info[0].IsExternal())
            throw Napi::TypeError::New(info.Env(), "Illegal constructor");
        module_->file = *info[0].As<Napi::External<std::shared_ptr<ModuleFile>>>().Data();
        info.This().As<Napi::Object>().DefineProperty(Napi::PropertyDescriptor::Value(
            "facts", to_facts(info.Env(), *module_->file), napi_enumerable));
    }

    static Napi::Function define(Napi::Env env) {
        return DefineClass(env, "Module",
                           {InstanceMethod<&ModuleHandle::functions>("functions"),
                            InstanceMethod<&ModuleHandle::instructions>("instructions"),
                            InstanceMethod<&ModuleHandle::disassemble>("disassemble"),
                            InstanceMethod<&ModuleHandle::parameters>("parameters"),
                            InstanceMethod<&ModuleHandle::native_functions>("nativeFunctions"),
                            InstanceMethod<&ModuleHandle::native_types>("nativeTypes"),
                            InstanceMethod<&ModuleHandle::native_type_names>("nativeTypeNames"),
                            InstanceMethod<&ModuleHandle::argument_bytes>("argumentBytes"),
                            InstanceMethod<&ModuleHandle::inlined>("inlined"),
                            InstanceMethod<&ModuleHandle::field_offsets>("fieldOffsets"),
                            InstanceMethod<&ModuleHandle::runtime_types>("runtimeTypes"),
                            InstanceMethod<&ModuleHandle::describe_types>("describeTypes"),
                            InstanceMethod<&ModuleHandle::type_names>("typeNames"),
                            InstanceMethod<&ModuleHandle::thread_offset>("goThreadOffset"),
                            InstanceMethod<&ModuleHandle::interface_tables>("interfaceTables"),
                            InstanceMethod<&ModuleHandle::lines>("lines"),
                            InstanceMethod<&ModuleHandle::thread_local_variable>("threadLocal"),
                            InstanceMethod<&ModuleHandle::close>("close")});
    }

  private:
    // Asks the file on another thread; it stays open until all who asked have their answer.
    template <typename Ask, typename Convert>
    Napi::Value ask(const Napi::CallbackInfo &info, Ask ask, Convert convert) {
        return guarded_promise(info.Env(), [&]() -> Napi::Value {
            std::shared_ptr<ModuleFile> file = module_->file;
            if (!file)
                throw closed_failure("The module");
            using Answer = decltype(ask(*file));
            auto use = std::make_shared<Use>(module_);
            trim_when_idle(info.Env(), module_);
            return Task<Answer>::start(
                info.Env(),
                [file, use, ask = std::move(ask)] {
                    return within_memory([&] { return ask(*file); });
                },
                [convert](Napi::Env env, Answer &answer) -> Napi::Value {
                    return convert(env, answer);
                });
        });
    }

    Napi::Value functions(const Napi::CallbackInfo &info) {
        return ask(
            info, [](ModuleFile &file) { return file.functions(); }, to_functions);
    }

    Napi::Value instructions(const Napi::CallbackInfo &info) {
        auto addresses = whole_numbers_of(info[0], "addresses");
        auto sizes = whole_numbers_of(info[1], "sizes");
        if (addresses.size() != sizes.size())
            throw Napi::TypeError::New(info.Env(), "addresses and sizes must be as many");
        std::vector<uint64_t> owners;
        if (!info[2].IsUndefined())
            owners = whole_numbers_of(info[2], "owners");
        for (uint64_t owner : owners)
            if (owners.size() != addresses.size() || owner >= owners.size())
                throw Napi::TypeError::New(info.Env(), "owners must be indexes, one for each");
        return ask(
            info,
            [addresses, sizes, owners](ModuleFile &file) {
                return file.instructions(addresses, sizes, owners);
            },
            [](Napi::Env env, Bytes &records) { return to_buffer(env, std::move(records)); });
    }

    Napi::Value parameters(const Napi::CallbackInfo &info) {
        auto addresses = whole_numbers_of(info[0], "addresses");
        return ask(
            info, [addresses](ModuleFile &file) { return file.parameters(addresses); },
            [](Napi::Env env, auto &parameters) {
                return to_array(env, parameters, to_parameters);
            });
    }

    Napi::Value native_functions(const Napi::CallbackInfo &info) {
        auto addresses = whole_numbers_of(info[0], "addresses");
        return ask(
            info, [addresses](ModuleFile &file) { return file.native_parameters(addresses); },
            [](Napi::Env env, auto &functions) {
                return to_array(env, functions, to_native_function);
            });
    }

    static std::vector<uint64_t> ids_of(const Napi::CallbackInfo &info) {
        std::vector<uint64_t> ids;
        for (const std::string &name : names_of(info)) {
            uint64_t id = native::NO_TYPE;
            if (name != "void" && std::from_chars(name.data(), name.data() + name.size(), id).ptr !=
                                      name.data() + name.size())
                throw wrong(info.Env(), "an id must be one that the module gave");
            ids.push_back(id);
        }
        return ids;
    }

    Napi::Value native_types(const Napi::CallbackInfo &info) {
        std::vector<uint64_t> ids = ids_of(info);
        return ask(
            info, [ids](ModuleFile &file) { return file.native_types(ids); },
            [](Napi::Env env, auto &types) { return to_array(env, types, to_native_type); });
    }

    Napi::Value native_type_names(const Napi::CallbackInfo &info) {
        std::vector<uint64_t> ids = ids_of(info);
        return ask(
            info, [ids](ModuleFile &file) { return file.native_type_names(ids); },
            [](Napi::Env env, auto &names) { return to_array(env, names, to_value); });
    }

    Napi::Value disassemble(const Napi::CallbackInfo &info) {
        auto addresses = whole_numbers_of(info[0], "addresses");
        return ask(
            info, [addresses](ModuleFile &file) { return file.disassemble(addresses); },
            [](Napi::Env env, auto &texts) { return to_array(env, texts, text_or_null); });
    }

    Napi::Value argument_bytes(const Napi::CallbackInfo &info) {
        auto addresses = whole_numbers_of(info[0], "addresses");
        return ask(
            info, [addresses](ModuleFile &file) { return file.argument_bytes(addresses); },
            [](Napi::Env env, auto &bytes) { return to_array(env, bytes, number_or_null); });
    }

    Napi::Value inlined(const Napi::CallbackInfo &info) {
        return ask(
            info, [](ModuleFile &file) { return file.inlined(); },
            [](Napi::Env env, auto &inlined) { return to_array(env, inlined, to_inlined); });
    }

    Napi::Value field_offsets(const Napi::CallbackInfo &info) {
        std::vector<ModuleFile::Field> fields;
        Napi::Array array = array_of(info[0], "fields");
        for (uint32_t i = 0; i < array.Length(); i++) {
            Napi::Object field = object_of(array.Get(i), "a field");
            fields.push_back(
                {string_of(field.Get("type"), "type"), string_of(field.Get("field"), "field")});
        }
        return ask(
            info, [fields](ModuleFile &file) { return file.field_offsets(fields); },
            [](Napi::Env env, auto &offsets) { return to_array(env, offsets, number_or_null); });
    }

    static std::vector<std::string> names_of(const Napi::CallbackInfo &info) {
        std::vector<std::string> names;
        Napi::Array array = array_of(info[0], "names");
        for (uint32_t i = 0; i < array.Length(); i++)
            names.push_back(string_of(array.Get(i), "a name"));
        return names;
    }

    Napi::Value describe_types(const Napi::CallbackInfo &info) {
        std::vector<std::string> names = names_of(info);
        return ask(
            info, [names](ModuleFile &file) { return file.describe_types(names); },
            [](Napi::Env env, auto &types) { return to_array(env, types, to_type); });
    }

    Napi::Value type_names(const Napi::CallbackInfo &info) {
        auto addresses = whole_numbers_of(info[0], "addresses");
        return ask(
            info, [addresses](ModuleFile &file) { return file.type_names(addresses); },
            [](Napi::Env env, auto &names) { return to_array(env, names, text_or_null); });
    }

    Napi::Value thread_offset(const Napi::CallbackInfo &info) {
        return ask(
            info, [](ModuleFile &file) { return go_thread_offset(file.elf()); },
            [](Napi::Env env, auto &offset) -> Napi::Value {
                if (!offset)
                    return env.Null();
                return Napi::Number::New(env, static_cast<double>(*offset));
            });
    }

    Napi::Value runtime_types(const Napi::CallbackInfo &info) {
        std::vector<std::string> names = names_of(info);
        return ask(
            info, [names](ModuleFile &file) { return file.runtime_types(names); },
            [](Napi::Env env, auto &types) { return to_array(env, types, number_or_null); });
    }

    Napi::Value interface_tables(const Napi::CallbackInfo &info) {
        std::string name = string_of(info[0], "the interface's name");
        return ask(
            info, [name](ModuleFile &file) { return file.interface_tables(name); },
            [](Napi::Env env, auto &tables) { return to_array(env, tables, to_interface_table); });
    }

    Napi::Value lines(const Napi::CallbackInfo &info) {
        auto addresses = whole_numbers_of(info[0], "addresses");
        return ask(
            info, [addresses](ModuleFile &file) { return file.lines(addresses); },
            [](Napi::Env env, auto &lines) { return to_array(env, lines, to_line); });
    }

    Napi::Value thread_local_variable(const Napi::CallbackInfo &info) {
        std::string name = string_of(info[0], "the variable's name");
        return ask(
            info, [name](ModuleFile &file) { return file.thread_local_variable(name); },
            [](Napi::Env env, auto &variable) { return to_thread_local(env, variable); });
    }

    void close(const Napi::CallbackInfo &) { module_->file.reset(); }

    std::shared_ptr<OpenModule> module_ = std::make_shared<OpenModule>();
};

} // namespace

static Napi::Value ask_may_unwind(const Napi::CallbackInfo &info) {
    std::string path = string_of(info[0], "path");
    return Task<bool>::start(
        info.Env(), [path] { return within_memory([&] { return may_unwind(path); }); },
        [](Napi::Env env, bool &may) { return Napi::Boolean::New(env, may); });
}

void init_modules(Napi::Env env, Napi::Object exports) {
    exports.Set("mayUnwind", Napi::Function::New(env, ask_may_unwind, "mayUnwind"));
    // One per environment, shared by the function that uses it.
    auto constructor =
        std::make_shared<Napi::FunctionReference>(Napi::Persistent(ModuleHandle::define(env)));
    exports.Set("openModule",
                Napi::Function::New(
                    env,
                    [constructor](const Napi::CallbackInfo &info) -> Napi::Value {
                        std::string path = string_of(info[0], "path");
                        std::vector<std::string> roots;
                        if (!info[1].IsUndefined()) {
                            Napi::Array array = array_of(info[1], "debugRoots");
                            for (uint32_t i = 0; i < array.Length(); i++)
                                roots.push_back(string_of(array.Get(i), "a root"));
                        }
                        using File = std::shared_ptr<ModuleFile>;
                        return Task<File>::start(
                            info.Env(),
                            [path, roots] {
                                return within_memory(
                                    [&] { return std::make_shared<ModuleFile>(path, roots); });
                            },
                            [constructor](Napi::Env env, File &file) -> Napi::Value {
                                return constructor->New({Napi::External<File>::New(env, &file)});
                            });
                    },
                    "openModule"));
}
