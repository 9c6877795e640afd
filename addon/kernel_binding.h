// BPF for JavaScript: the part of interface Native (src/native/native.ts) that runs programs.
#pragma once

#include <napi.h>

void init_kernel(Napi::Env env, Napi::Object exports);
