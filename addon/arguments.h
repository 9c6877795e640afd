// What JavaScript passed in, checked. A wrong type is a TypeError: a mistake of the caller's code.
#pragma once

#include <napi.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

inline Napi::TypeError wrong(Napi::Env env, const std::string &what) {
    return Napi::TypeError::New(env, what);
}

inline std::string string_of(Napi::Value value, const char *what) {
    if (!value.IsString())
        throw wrong(value.Env(), std::string(what) + " must be a string");
    return value.As<Napi::String>();
}

inline Napi::Object object_of(Napi::Value value, const char *what) {
    if (!value.IsObject())
        throw wrong(value.Env(), std::string(what) + " must be an object");
    return value.As<Napi::Object>();
}

// A whole number from 0 to `most`.
inline uint64_t whole(Napi::Env env, double number, double most, const char *what) {
    if (!(number >= 0 && number <= most) || number != std::floor(number))
        throw wrong(env, std::string(what) + " must be a whole number up to " +
                             std::to_string(static_cast<uint64_t>(most)));
    return static_cast<uint64_t>(number);
}

inline uint64_t whole_of(Napi::Value value, double most, const char *what) {
    if (!value.IsNumber())
        throw wrong(value.Env(), std::string(what) + " must be a number");
    return whole(value.Env(), value.As<Napi::Number>().DoubleValue(), most, what);
}

inline std::vector<uint64_t> whole_numbers_of(Napi::Value value, const char *what) {
    constexpr double SAFE = 9007199254740991.0; // Number.MAX_SAFE_INTEGER
    if (!value.IsTypedArray() ||
        value.As<Napi::TypedArray>().TypedArrayType() != napi_float64_array)
        throw wrong(value.Env(), std::string(what) + " must be a Float64Array");
    auto numbers = value.As<Napi::Float64Array>();
    std::vector<uint64_t> whole_numbers(numbers.ElementLength());
    for (size_t i = 0; i < whole_numbers.size(); i++)
        whole_numbers[i] = whole(value.Env(), numbers.Data()[i], SAFE, what);
    return whole_numbers;
}

// The kernel's own addresses are too large for a number.
inline std::vector<uint64_t> addresses_of(Napi::Value value, const char *what) {
    if (!value.IsTypedArray() ||
        value.As<Napi::TypedArray>().TypedArrayType() != napi_biguint64_array)
        throw wrong(value.Env(), std::string(what) + " must be a BigUint64Array");
    auto addresses = value.As<Napi::BigUint64Array>();
    return {addresses.Data(), addresses.Data() + addresses.ElementLength()};
}

inline Napi::Buffer<uint8_t> buffer_of(Napi::Value value, const char *what) {
    if (!value.IsBuffer())
        throw wrong(value.Env(), std::string(what) + " must be a Buffer");
    return value.As<Napi::Buffer<uint8_t>>();
}

// A Buffer that owns what was in the vector.
inline Napi::Buffer<uint8_t> to_buffer(Napi::Env env, std::vector<uint8_t> bytes) {
    auto *owned = new std::vector<uint8_t>(std::move(bytes));
    return Napi::Buffer<uint8_t>::NewOrCopy(
        env, owned->data(), owned->size(),
        [](Napi::Env, uint8_t *, std::vector<uint8_t> *vector) { delete vector; }, owned);
}
