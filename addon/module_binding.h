// ELF files for JavaScript: the part of interface Native (src/native/native.ts) that reads them.
#pragma once

#include <napi.h>

void init_modules(Napi::Env env, Napi::Object exports);
