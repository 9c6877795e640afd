// Go's own table of functions and lines, which survives stripping (Go 1.16 and later).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "elf.h"
#include "relocations.h"
#include "symbols.h"

struct SourceLine {
    std::string file;
    uint64_t line;
};

class Pclntab {
  public:
    // Whether the file has one, by its section alone.
    static bool has_section(const ElfFile &elf);
    // Nothing if the file has none. ELF_MALFORMED if it has one but where its functions are
    // cannot be known for sure. `search`: also where no section says so.
    static std::optional<Pclntab> load(const ElfFile &elf, bool search);

    FunctionTable functions() const;
    // Address of the runtime.moduledata that goes with it.
    uint64_t module_data() const { return module_data_; }
    std::optional<SourceLine> line_of(uint64_t address) const;
    // Bytes of arguments, results and spill space, by the function's address.
    std::optional<uint32_t> argument_bytes(uint64_t address) const;

  private:
    struct Function {
        uint64_t address;
        uint64_t end;
        uint64_t record; // offset of its _func
    };

    bool parse_header();
    void find_functions(const ElfFile &elf);
    std::optional<uint64_t> text_start(const ElfFile &elf, const Relocations &relocations);
    bool is_module_data(const Relocations &relocations, uint64_t address, uint64_t &text) const;
    const Function *function_with(uint64_t address) const;
    uint64_t code_end(const Function &function) const;
    std::optional<int32_t> value_at(const Function &function, uint32_t table,
                                    uint64_t address) const;
    uint32_t field(const Function &function, unsigned index) const;

    uint64_t address_ = 0;  // of the header
    Bytes data_;            // from the header on
    bool pointers_ = false; // Go 1.16 and 1.17: addresses, later offsets from the text's start
    uint64_t function_count_ = 0;
    uint64_t header_text_ = 0;
    uint64_t names_ = 0, units_ = 0, files_ = 0, values_ = 0, table_ = 0;
    uint64_t module_data_ = 0;
    std::vector<Function> functions_;
};
