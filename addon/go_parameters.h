// Parameters of functions by DWARF, and where Go's ABIInternal puts them.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "dwarf.h"
#include "dwarf_lists.h"
#include "dwarf_types.h"
#include "go_abi.h"
#include "pclntab.h"

struct Parameter {
    std::string name;
    std::string type;
    bool result = false;
    std::vector<uint32_t> registers;
    std::optional<uint64_t> stack_offset;
};

class ParameterReader {
  public:
    // `pclntab` may be null; it tells whether DWARF left parameters out.
    ParameterReader(const dwarf::Reader &reader, const dwarf::Index &index, const Pclntab *pclntab)
        : reader_(reader), index_(index), pclntab_(pclntab) {}

    // Nothing if DWARF does not know a function at this address.
    std::optional<std::vector<Parameter>> parameters(uint64_t address);

  private:
    using Shape = go_abi::Shape;
    using Place = go_abi::Place;
    struct Argument {
        Parameter parameter;
        std::optional<Shape> shape;
        std::optional<dwarf::Pieces> entry; // where DWARF says it is at the function's start
    };
    struct Layout : go_abi::Layout {
        bool is_certain = false; // that no parameter is missing
    };

    std::vector<Argument> read_arguments(const dwarf::Unit &unit, const dwarf::Entry &function,
                                         uint64_t address);
    std::optional<Shape> shape_of(uint64_t type, unsigned depth);
    std::optional<Shape> compute_shape(uint64_t type, unsigned depth);
    std::optional<Shape> record_shape(const dwarf::Entry &record, unsigned depth);
    std::optional<Shape> array_shape(const dwarf::Entry &array, unsigned depth);
    static Layout lay_out(const std::vector<Argument> &arguments, bool go_registers);
    static bool contradicts(const Argument &argument, const Place &place);
    std::vector<Layout> possible_layouts(const std::vector<Argument> &arguments, bool go_registers,
                                         bool is_generic, uint64_t address) const;
    static Place place_by_dwarf(const Argument &argument);

    const dwarf::Reader &reader_;
    const dwarf::Index &index_;
    const Pclntab *pclntab_;
    std::unordered_map<uint64_t, std::optional<Shape>> shapes_;
};
