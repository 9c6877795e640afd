// Types and functions by name and address, and the few questions asked of types.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "dwarf.h"
#include "type_description.h"

namespace dwarf {

struct Inlined {
    std::string name;
    std::vector<std::string> into;
    bool has_code; // of its own, besides
};

// Small enough to be kept when the sections it was made from are let go.
class Index {
  public:
    // `inlined`, where it is given, gets all that is inlined somewhere, at the cost of the one
    // walk.
    Index(const ElfFile &elf, const Reader &reader, std::vector<Inlined> *inlined = nullptr);

    // Offsets of the entries of this name, or at this address.
    std::vector<uint64_t> types(const Reader &reader, std::string_view name) const;
    std::optional<uint64_t> function(uint64_t address) const;

  private:
    struct Row {
        uint64_t key;
        uint64_t entry;
    };
    static void sort(std::vector<Row> &rows);

    std::vector<Row> types_;     // key: hash of the name
    std::vector<Row> functions_; // key: address
};

// Through typedefs, const and volatile; nothing if it leads nowhere.
std::optional<Entry> underlying_type(const Reader &reader, uint64_t offset);

// Where a member lies in its record; nothing where that is not a constant.
std::optional<uint64_t> member_offset(const Entry &member);

// Elements of an array type; nothing where that is not a constant.
std::optional<uint64_t> array_count(const Reader &reader, const Entry &array);

// Of a field, nested by "."
std::optional<uint64_t> field_offset(const Reader &reader, const Index &index,
                                     const std::string &type, const std::string &field);

// DW_AT_go_runtime_type: an address, or in newer Go versions an offset from where the types start.
std::optional<uint64_t> runtime_type(const Reader &reader, const Index &index,
                                     const std::string &name);

// A Go type by its name; nothing if DWARF has none of it.
std::optional<TypeDescription> describe_type(const Reader &reader, const Index &index,
                                             const std::string &name);

// "context.Context", "*net/http.Request"
std::string type_name(const Reader &reader, uint64_t offset);

} // namespace dwarf
