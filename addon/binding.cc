// The addon's two halves: facts about ELF files, and running BPF.
#include <napi.h>

#if __has_include("module_binding.h")
#include "module_binding.h"
#endif
#include "kernel_binding.h"

static Napi::Object init(Napi::Env env, Napi::Object exports) {
#if __has_include("module_binding.h")
    init_modules(env, exports);
#endif
    init_kernel(env, exports);
    return exports;
}

NODE_API_MODULE(underspan, init)
