// From what the addon found to JavaScript values.
#pragma once

#include <napi.h>

#include <optional>
#include <string>
#include <vector>

inline Napi::Value number_or_null(Napi::Env env, const std::optional<uint64_t> &number) {
    return number ? Napi::Number::New(env, static_cast<double>(*number)).As<Napi::Value>()
                  : env.Null();
}

template <typename Item, typename Convert>
Napi::Array to_array(Napi::Env env, const std::vector<Item> &items, Convert convert) {
    Napi::Array array = Napi::Array::New(env, items.size());
    for (size_t i = 0; i < items.size(); i++) {
        Napi::HandleScope scope(env);
        array.Set(static_cast<uint32_t>(i), convert(env, items[i]));
    }
    return array;
}

inline Napi::Value to_value(Napi::Env env, const std::string &text) {
    return Napi::String::New(env, text);
}

inline Napi::Value text_or_null(Napi::Env env, const std::optional<std::string> &text) {
    return text ? to_value(env, *text) : env.Null();
}
