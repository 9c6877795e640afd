// The addon's two halves: facts about ELF files, and running BPF.
#include <malloc.h>
#include <napi.h>

#if __has_include("module_binding.h")
#include "module_binding.h"
#endif
#include "kernel_binding.h"

// Sections of large files go back to the kernel as soon as they are let go: else the first that is
// freed has all of its size and below kept in the heaps of the threads that read.
static void give_memory_back() {
#ifdef M_MMAP_THRESHOLD
    mallopt(M_MMAP_THRESHOLD, 128 << 10);
#endif
}

static Napi::Object init(Napi::Env env, Napi::Object exports) {
    give_memory_back();
#if __has_include("module_binding.h")
    init_modules(env, exports);
#endif
    init_kernel(env, exports);
    return exports;
}

NODE_API_MODULE(underspan, init)
