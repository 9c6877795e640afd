// Parameters and results of functions of C, C++ and Rust: where the ABI puts them, corrected by
// what DWARF says of the moment when the function begins.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "dwarf_types.h"
#include "entry_location.h"
#include "native_abi.h"
#include "native_types.h"

namespace native {

struct Parameter {
    std::string name;
    uint64_t type = ELSEWHERE;
    bool is_result = false;
    Place place;
    std::string problem; // why it cannot be read; else empty
};

struct Function {
    const char *language = "other";
    std::vector<Parameter> parameters;
};

class ParameterReader {
  public:
    // `files`: those whose symbols name the functions.
    ParameterReader(const std::vector<const ElfFile *> &files, const dwarf::Index &index,
                    TypeReader &types);

    // Nothing if DWARF does not know a function at this address.
    std::optional<Function> function(uint64_t address);

  private:
    // What its symbols say of a function.
    struct Linkage {
        bool is_global = false; // others may call it, so it keeps to the ABI
        bool is_clone = false;  // a copy that GCC made with other parameters, or fewer results
    };
    struct Argument {
        Parameter parameter;
        dwarf::EntryLocation entry;
        Passing passing;
    };
    // How far the ABI can be relied on for one function.
    struct Trust {
        bool in_abi = true;
        bool in_silence = false; // also for parameters that DWARF says nothing of
        bool in_result = true;
    };

    void read_symbols(const ElfFile &elf);
    std::vector<Argument> arguments(const dwarf::Unit &unit, const dwarf::Entry &function,
                                    uint64_t address, bool is_rust);
    Trust trust(const dwarf::Unit &unit, const dwarf::Entry &function, uint64_t address,
                const std::vector<Argument> &arguments) const;
    bool is_old_clang(const dwarf::Unit &unit) const;

    const dwarf::Reader &reader_;
    const dwarf::Index &index_;
    TypeReader &types_;
    std::unordered_map<uint64_t, Linkage> linkage_;
};

} // namespace native
