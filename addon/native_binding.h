// Functions and types of C, C++ and Rust as src/native/module.ts describes them.
#pragma once

#include <napi.h>

#include "native_parameters.h"

Napi::Value to_native_function(Napi::Env env, const std::optional<native::Function> &function);
Napi::Value to_native_type(Napi::Env env, const native::Type &type);
