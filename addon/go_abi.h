// Where Go's ABIInternal passes arguments and results (abi-internal.md in Go's cmd/compile), amd64.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace go_abi {

inline constexpr uint32_t INTEGER_REGISTERS = 9;
inline constexpr uint32_t FLOAT_REGISTERS = 15;
inline constexpr uint32_t FIRST_FLOAT = 100; // as src/native/module.ts counts them
inline constexpr uint64_t WORD = 8;
inline constexpr uint64_t LARGEST_TYPE = uint64_t{1} << 40;
inline constexpr unsigned DEEPEST_TYPE = 32;

uint64_t align(uint64_t offset, uint64_t alignment);

// What counts of a type when it is passed: its words, true for those in float registers.
struct Shape {
    uint64_t size = 0;
    uint64_t alignment = 1;
    bool fits_registers = true;
    std::vector<bool> words;

    // Adds a field, or nothing if it cannot be passed in registers any more.
    void add(const Shape &member);
    // `count` of this one side by side; nothing if that is too large.
    std::optional<Shape> times(uint64_t count) const;
};

Shape integer(uint64_t size);
Shape floating(uint64_t size);
Shape complex(uint64_t size);
Shape pointer();

struct Place {
    std::vector<uint32_t> registers;
    std::optional<uint64_t> stack_offset;

    bool operator==(const Place &) const = default;
};

struct Slot {
    Shape shape;
    bool result;
};

struct Layout {
    std::vector<Place> places;
    uint64_t bytes = 0; // with results and spill space
    uint64_t padding = 0;
};

// Results come after the others. Without `registers` as ABI0 has it.
Layout lay_out(const std::vector<Slot> &slots, bool registers);

} // namespace go_abi
