// Classes whose instances only native code makes: JavaScript gets handles, never constructors.
#pragma once

#include <napi.h>

#include <memory>
#include <utility>

#include "errors.h"

// One per environment (the main thread and each Worker have their own).
struct KernelClasses {
    Napi::FunctionReference map, programs, link, reader, statistics;
};

// What a handle is made from, on its way through the JavaScript constructor.
template <typename Contents> struct Parcel {
    KernelClasses *classes;
    Contents contents;
};

template <typename Contents>
Napi::Object make_handle(Napi::Env env, Napi::FunctionReference &constructor,
                         KernelClasses *classes, Contents contents) {
    Parcel<Contents> parcel{classes, std::move(contents)};
    return constructor.New({Napi::External<Parcel<Contents>>::New(env, &parcel)});
}

template <typename Contents> Parcel<Contents> &parcel_of(const Napi::CallbackInfo &info) {
    if (info.Length() != 1 || !info[0].IsExternal())
        throw Napi::TypeError::New(info.Env(), "Illegal constructor");
    return *info[0].As<Napi::External<Parcel<Contents>>>().Data();
}

// Runs a method's body; a NativeFailure becomes the JavaScript exception.
template <typename Body> auto guarded(Napi::Env env, Body body) -> decltype(body()) {
    try {
        return body();
    } catch (const NativeFailure &failure) {
        throw to_js(env, failure);
    }
}

// The same for methods that return a Promise: it is rejected.
template <typename Body> Napi::Value guarded_promise(Napi::Env env, Body body) {
    try {
        return body();
    } catch (const NativeFailure &failure) {
        auto deferred = Napi::Promise::Deferred::New(env);
        deferred.Reject(to_js(env, failure).Value());
        return deferred.Promise();
    }
}
