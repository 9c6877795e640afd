// Parameters of methods by the runtime's type tables, for programs without DWARF. They name the
// types of a method, though none of its parameters.
#pragma once

#include <unordered_map>

#include "go_parameters.h"
#include "go_types.h"

class MethodTable {
  public:
    explicit MethodTable(const GoTypes &types);

    // Nothing for a function that is no method, or whose place in memory is not certain.
    // `argument_bytes`: as pclntab has it, to check by; nothing where it says none.
    std::optional<std::vector<Parameter>> parameters(uint64_t address,
                                                     std::optional<uint32_t> argument_bytes);

  private:
    std::optional<go_abi::Shape> shape_of(uint64_t type, unsigned depth);
    std::optional<go_abi::Shape> compute_shape(uint64_t type, unsigned depth);

    const GoTypes &types_;
    std::unordered_map<uint64_t, GoTypes::Method> methods_; // by address
    std::unordered_map<uint64_t, std::optional<go_abi::Shape>> shapes_;
};
