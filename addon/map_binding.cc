#include "map_binding.h"

#include "arguments.h"
#include "task.h"

static constexpr napi_type_tag MAP_TAG = {0x9d1e6a6c1f0b4c57, 0x8f0f2b7c3f6a4d21};

class MapHandle : public Napi::ObjectWrap<MapHandle> {
  public:
    explicit MapHandle(const Napi::CallbackInfo &info)
        : Napi::ObjectWrap<MapHandle>(info),
          map_(std::move(parcel_of<std::shared_ptr<Map>>(info).contents)) {
        info.This().As<Napi::Object>().TypeTag(&MAP_TAG);
    }

    const std::shared_ptr<Map> &map() const { return map_; }

    static Napi::Function define(Napi::Env env) {
        return DefineClass(env, "BpfMap",
                           {InstanceAccessor<&MapHandle::name>("name"),
                            InstanceAccessor<&MapHandle::key_size>("keySize"),
                            InstanceAccessor<&MapHandle::value_size>("valueSize"),
                            InstanceAccessor<&MapHandle::max_entries>("maxEntries"),
                            InstanceMethod<&MapHandle::lookup>("lookup"),
                            InstanceMethod<&MapHandle::update>("update"),
                            InstanceMethod<&MapHandle::replace>("replace"),
                            InstanceMethod<&MapHandle::update_many>("updateMany"),
                            InstanceMethod<&MapHandle::erase>("delete"),
                            InstanceMethod<&MapHandle::count>("count"),
                            InstanceMethod<&MapHandle::entries>("entries"),
                            InstanceMethod<&MapHandle::read>("read"),
                            InstanceMethod<&MapHandle::sums>("sums")});
    }

  private:
    Napi::Value name(const Napi::CallbackInfo &info) {
        return Napi::String::New(info.Env(), map_->name());
    }
    Napi::Value key_size(const Napi::CallbackInfo &info) {
        return Napi::Number::New(info.Env(), map_->key_size());
    }
    Napi::Value value_size(const Napi::CallbackInfo &info) {
        return Napi::Number::New(info.Env(), map_->value_size());
    }
    Napi::Value max_entries(const Napi::CallbackInfo &info) {
        return Napi::Number::New(info.Env(), map_->max_entries());
    }

    Napi::Buffer<uint8_t> sized(Napi::Value value, size_t size, const char *what) {
        auto buffer = buffer_of(value, what);
        if (buffer.Length() != size)
            throw wrong(value.Env(), std::string(what) + " of map " + map_->name() + " must have " +
                                         std::to_string(size) + " bytes, not " +
                                         std::to_string(buffer.Length()));
        return buffer;
    }

    Napi::Value lookup(const Napi::CallbackInfo &info) {
        auto key = sized(info[0], map_->key_size(), "The key");
        std::vector<uint8_t> value(map_->value_size());
        bool found = guarded(info.Env(), [&] { return map_->lookup(key.Data(), value.data()); });
        return found ? to_buffer(info.Env(), std::move(value)).As<Napi::Value>()
                     : info.Env().Null();
    }

    void update(const Napi::CallbackInfo &info) {
        auto key = sized(info[0], map_->key_size(), "The key");
        auto value = sized(info[1], map_->value_size(), "The value");
        guarded(info.Env(), [&] { map_->update(key.Data(), value.Data()); });
    }

    Napi::Value replace(const Napi::CallbackInfo &info) {
        auto key = sized(info[0], map_->key_size(), "The key");
        auto value = sized(info[1], map_->value_size(), "The value");
        bool replaced =
            guarded(info.Env(), [&] { return map_->replace(key.Data(), value.Data()); });
        return Napi::Boolean::New(info.Env(), replaced);
    }

    void update_many(const Napi::CallbackInfo &info) {
        auto keys = buffer_of(info[0], "keys");
        size_t count = keys.Length() / std::max<size_t>(map_->key_size(), 1);
        sized(info[0], count * map_->key_size(), "Keys");
        auto values = sized(info[1], count * map_->value_size(), "Values");
        guarded(info.Env(), [&] { map_->update_many(keys.Data(), values.Data(), count); });
    }

    Napi::Value erase(const Napi::CallbackInfo &info) {
        auto key = sized(info[0], map_->key_size(), "The key");
        bool erased = guarded(info.Env(), [&] { return map_->erase(key.Data()); });
        return Napi::Boolean::New(info.Env(), erased);
    }

    Napi::Value entries(const Napi::CallbackInfo &info) {
        Napi::Env env = info.Env();
        return guarded_promise(env, [&]() -> Napi::Value {
            auto snapshot = std::make_shared<Map::Snapshot>(map_->snapshot());
            return Task<Map::Entries>::start(
                env, [snapshot] { return entries_of(*snapshot); },
                [](Napi::Env env, Map::Entries &entries) -> Napi::Value {
                    auto result = Napi::Object::New(env);
                    result.Set("keys", to_buffer(env, std::move(entries.keys)));
                    result.Set("values", to_buffer(env, std::move(entries.values)));
                    return result;
                });
        });
    }

    Napi::Value count(const Napi::CallbackInfo &info) {
        Napi::Env env = info.Env();
        return guarded_promise(env, [&]() -> Napi::Value {
            auto snapshot = std::make_shared<Map::Snapshot>(map_->snapshot());
            return Task<uint32_t>::start(
                env, [snapshot] { return count_of(*snapshot); },
                [](Napi::Env env, uint32_t &count) -> Napi::Value {
                    return Napi::Number::New(env, count);
                });
        });
    }

    Napi::Value read(const Napi::CallbackInfo &info) {
        auto first = static_cast<uint32_t>(whole_of(info[0], UINT32_MAX, "first"));
        auto count = static_cast<uint32_t>(whole_of(info[1], UINT32_MAX, "count"));
        if (count > map_->max_entries())
            throw wrong(info.Env(), "count is more than map " + map_->name() + " holds");
        std::vector<uint8_t> values(size_t{count} * map_->value_size());
        guarded(info.Env(), [&] { map_->read(first, count, values.data()); });
        return to_buffer(info.Env(), std::move(values));
    }

    Napi::Value sums(const Napi::CallbackInfo &info) {
        auto number = [&](size_t at, const char *what) {
            return static_cast<uint32_t>(whole_of(info[at], UINT32_MAX, what));
        };
        auto offset = number(0, "offset"), count = number(1, "count"), group = number(2, "group");
        auto sums = guarded(info.Env(), [&] { return map_->sums(offset, count, group); });
        auto array = Napi::Float64Array::New(info.Env(), sums.size());
        std::copy(sums.begin(), sums.end(), array.Data());
        return array;
    }

    std::shared_ptr<Map> map_;
};

Napi::Function define_map(Napi::Env env) { return MapHandle::define(env); }

std::shared_ptr<Map> map_of(Napi::Value value) {
    if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&MAP_TAG))
        throw wrong(value.Env(), "A BpfMap is wanted");
    return MapHandle::Unwrap(value.As<Napi::Object>())->map();
}
