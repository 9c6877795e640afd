#include "errors.h"

#include <cerrno>
#include <system_error>

Napi::Error to_js(Napi::Env env, const NativeFailure &failure) {
    Napi::Error error = Napi::Error::New(env, failure.message);
    error.Set("code", Napi::String::New(env, failure.code));
    if (failure.error_number != 0)
        error.Set("errno", Napi::Number::New(env, failure.error_number));
    if (!failure.log.empty())
        error.Set("log", Napi::String::New(env, failure.log));
    return error;
}

// The kernel's own ENOTSUPP, which it lets through to user space in places and libc cannot name.
static constexpr int KERNEL_ENOTSUPP = 524;

static std::string text_of(int error_number) {
    if (error_number == KERNEL_ENOTSUPP)
        return "Operation not supported";
    return std::generic_category().message(error_number);
}

NativeFailure failure_of(const std::string &code, const std::string &message, int error_number) {
    bool refused = error_number == EPERM || error_number == EACCES;
    return {refused ? "BPF_NOT_PERMITTED" : code, message + ": " + text_of(error_number),
            error_number, ""};
}

NativeFailure closed_failure(const std::string &what) {
    return {"CLOSED", what + " is closed", 0, ""};
}
