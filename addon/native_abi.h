// Where C, C++ and Rust pass values on x86-64: the System V ABI (version 1.0, section 3.2.3) with
// the Itanium C++ ABI, and what rustc does for functions of its own.
#pragma once

#include <optional>
#include <vector>

#include "native_types.h"

namespace native {

// One register's worth of a value.
struct Part {
    uint64_t offset;
    uint64_t size;
    bool is_float;
};

struct Passing {
    enum How : uint8_t {
        UNKNOWN,
        NOTHING,   // it has no content
        REGISTERS, // its parts, if there is room for all of them
        STACK,     // as an argument it is copied there
        ADDRESS,   // in memory of the caller's, whose address is passed
        X87,       // on the stack as an argument, in a register of the x87 as a result
        RUST_PAIR, // two registers, each where there is room
    };
    How how = UNKNOWN;
    std::vector<Part> parts;
    uint64_t size = 0;
    uint64_t alignment = 8;
};

inline uint64_t align_up(uint64_t offset, uint64_t alignment) {
    return (offset + alignment - 1) / alignment * alignment;
}

Passing system_v(TypeReader &types, uint64_t type);
Passing rust(TypeReader &types, uint64_t type);

// As src/native/module.ts counts registers.
inline constexpr uint32_t INTEGER_ARGUMENTS = 6; // rdi, rsi, rdx, rcx, r8, r9
inline constexpr uint32_t RAX = 6;
inline constexpr uint32_t FIRST_FLOAT = 100;

struct Piece {
    uint64_t offset;
    uint64_t size;
    uint32_t reg;

    bool operator==(const Piece &) const = default;
};

struct Place {
    std::vector<Piece> pieces;
    std::optional<uint64_t> stack_offset; // from the first stack argument
    bool is_address = false;              // of the value, which lies elsewhere
    bool is_empty = false;                // there is nothing to be passed
    const char *problem = nullptr;

    static Place empty() {
        Place place = unknown("it has no content");
        place.is_empty = true;
        return place;
    }
    static Place unknown(const char *why) {
        Place place;
        place.problem = why;
        return place;
    }
};

// The arguments in their order, then the result.
std::vector<Place> lay_out(const std::vector<Passing> &arguments, const Passing &result);

} // namespace native
