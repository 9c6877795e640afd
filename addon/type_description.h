// A Go type as src/native/module.ts describes it, whether from DWARF or from the runtime's tables.
#pragma once

#include <optional>
#include <string>
#include <vector>

struct TypeDescription {
    struct Field {
        std::string name;
        std::string type;
        uint64_t offset;
        bool embedded;
    };
    std::string name;
    const char *kind;
    uint64_t size = 0;
    std::optional<std::string> element;
    std::optional<std::string> key;
    std::optional<uint64_t> count;
    std::vector<Field> fields;
    std::vector<std::string> methods;
};

// By reflect.Kind, which DWARF has as DW_AT_go_kind; null for what is none.
inline const char *kind_name(uint64_t kind) {
    static constexpr const char *NAMES[] = {
        nullptr, "bool", "int",       "int",  "int",     "int",   "int",     "uint",    "uint",
        "uint",  "uint", "uint",      "uint", "float",   "float", "complex", "complex", "array",
        "chan",  "func", "interface", "map",  "pointer", "slice", "string",  "struct",  "pointer",
    };
    return kind < std::size(NAMES) ? NAMES[kind] : nullptr;
}
