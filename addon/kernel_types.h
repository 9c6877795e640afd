// What BTF says about the arguments of functions of the kernel.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

// An argument, or what lies behind it; or why it cannot be read.
struct KernelValue {
    uint32_t function;   // index
    uint32_t parameters; // how many the function has
    std::string path;    // empty: what the function returns
    std::string reason;
    uint32_t register_index = 0;
    std::vector<uint32_t> steps;
    std::string kind; // int, uint, bool, pointer, text, characters
    uint32_t size = 0;
    std::string type;
};

// Those of the paths that the functions have; "*" is every argument that is a number or a pointer.
// With `results` also what they return.
std::vector<KernelValue> kernel_values(const std::vector<std::string> &functions,
                                       const std::vector<std::string> &paths, bool results);
