// Reader.
#pragma once

#include <napi.h>

#include "handles.h"

Napi::Function define_reader(Napi::Env env);

// read(ring, options, onBatch)
Napi::Value start_reader(const Napi::CallbackInfo &info, KernelClasses *classes);
