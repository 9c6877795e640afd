// Symbol tables, and what Go's linker says through the names in them.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "elf.h"

struct Symbol {
    std::string_view name;
    uint64_t address;
    uint64_t size;
    uint8_t type;
    uint8_t binding;
    size_t index; // in its table
};

class SymbolTable {
  public:
    // SHT_SYMTAB or SHT_DYNSYM; nothing if the file has none.
    static std::optional<SymbolTable> load(const ElfFile &elf, uint32_t section_type);

    // Symbols that are defined in this file, and the names of sources between them.
    void for_each(const std::function<void(const Symbol &)> &visit) const;
    // Names of those that other files define.
    void for_each_import(const std::function<void(std::string_view)> &visit) const;

  private:
    std::string_view name_at(uint32_t offset) const;

    Bytes symbols_;
    Bytes names_;
};

struct FunctionTable {
    // Further ranges of functions, which compilers put elsewhere.
    struct Parts {
        std::vector<double> functions; // by index in the table
        std::vector<double> addresses;
        std::vector<double> sizes;
    };

    std::string names;      // joined by "\n"
    std::string signatures; // the same; empty where no function has one
    std::vector<double> addresses;
    std::vector<double> sizes;
    std::vector<uint8_t> kinds; // FunctionKind in module.ts; empty where all are plain functions
    Parts parts;
    const char *source = "dynsym";
};

// What a table is made from; the views must outlive it.
struct FunctionEntry {
    uint64_t address;
    uint64_t size;
    std::string_view name;
};
FunctionTable to_table(std::vector<FunctionEntry> entries, const char *source);

// Functions by a symbol table; `go`: a Go program's, nothing unless it has Go's own.
std::optional<FunctionTable> symbol_functions(const ElfFile &elf, uint32_t section_type, bool go);

struct InterfaceTable {
    std::string type;
    uint64_t itab;
    std::optional<uint64_t> type_address;
    std::optional<uint64_t> interface_address;
};
std::vector<InterfaceTable> interface_tables(const ElfFile &elf, const std::string &interface_name);
