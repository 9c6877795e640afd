// How type descriptors lie in a Go program (internal/abi/type.go), and how much of that is read.
#pragma once

#include <cstddef>
#include <cstdint>

namespace go_descriptors {

// abi.Type, the same from Go 1.18 to 1.27.
constexpr uint64_t TYPE_SIZE = 48;
constexpr uint64_t FLAGS = 20, ALIGNMENT = 21, KIND = 23, NAME = 40;
constexpr uint8_t KIND_MASK = 31;
enum Flag : uint8_t { UNCOMMON = 1, EXTRA_STAR = 2, NAMED = 4 };
// abi.Name: flags, length as a varint, text.
constexpr uint8_t NAME_EMBEDDED = 8;
// abi.UncommonType and abi.Method.
constexpr uint64_t UNCOMMON_SIZE = 16, METHOD_SIZE = 16;
constexpr uint32_t NO_METHOD = UINT32_MAX;
constexpr uint64_t FIELD_SIZE = 24, IMETHOD_SIZE = 8;
constexpr uint64_t ITAB_SIZE = 32; // with one method
// abi.MapType: with split groups (1.27), as Swiss tables (1.24), and before.
constexpr uint64_t MAP_SIZES[] = {136, 112, 88};

constexpr size_t MOST_TYPES = 4u << 20;
constexpr uint64_t MOST_FIELDS = 16u << 10;
// Of a whole file: a hostile one could have all types lie over each other.
constexpr size_t MOST_STEPS = 32u << 20;

} // namespace go_descriptors
