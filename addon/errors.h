// Failures, as the engine sees them: NativeError in src/native/native.ts.
#pragma once

#include <napi.h>

#include <string>

// Thrown by everything here; the glue turns it into a JavaScript error.
struct NativeFailure {
    std::string code;
    std::string message;
    int error_number = 0;
    std::string log;
};

Napi::Error to_js(Napi::Env env, const NativeFailure &failure);

// "message: text of the errno". EPERM and EACCES are BPF_NOT_PERMITTED, whatever `code` says.
NativeFailure failure_of(const std::string &code, const std::string &message, int error_number);

NativeFailure closed_failure(const std::string &what);
