#include "symbols.h"

#include <elf.h>

#include <algorithm>

#include "relocations.h"

// Far above what compilers write; below what would fill the memory when many symbols share one.
static constexpr size_t LONGEST_NAME = 64u << 10;
static constexpr size_t MOST_NAMES = 256u << 20;

std::optional<SymbolTable> SymbolTable::load(const ElfFile &elf, uint32_t section_type) {
    const Section *section = elf.section_of_type(section_type);
    if (!section)
        return std::nullopt;
    if (section->link >= elf.sections().size())
        malformed("a symbol table has no names");
    SymbolTable table;
    table.symbols_ = elf.contents(*section);
    table.names_ = elf.contents(elf.sections()[section->link]);
    return table;
}

std::string_view SymbolTable::name_at(uint32_t offset) const {
    if (offset == 0)
        return {};
    if (offset >= names_.size())
        malformed("a symbol's name lies outside the names");
    const char *name = reinterpret_cast<const char *>(names_.data()) + offset;
    return {name, strnlen(name, std::min(names_.size() - offset, LONGEST_NAME))};
}

void SymbolTable::for_each_import(const std::function<void(std::string_view)> &visit) const {
    Cursor cursor(symbols_);
    while (cursor.left() >= sizeof(Elf64_Sym)) {
        auto symbol = cursor.number<Elf64_Sym>();
        if (symbol.st_shndx == SHN_UNDEF && symbol.st_name != 0)
            visit(name_at(symbol.st_name));
    }
}

void SymbolTable::for_each(const std::function<void(const Symbol &)> &visit) const {
    Cursor cursor(symbols_);
    while (cursor.left() >= sizeof(Elf64_Sym)) {
        auto symbol = cursor.number<Elf64_Sym>();
        uint8_t type = ELF64_ST_TYPE(symbol.st_info);
        if (symbol.st_shndx == SHN_UNDEF || (symbol.st_name == 0 && type != STT_FILE))
            continue;
        visit({name_at(symbol.st_name), symbol.st_value, symbol.st_size, type,
               static_cast<uint8_t>(ELF64_ST_BIND(symbol.st_info)),
               (cursor.at() / sizeof symbol) - 1});
    }
}

FunctionTable to_table(std::vector<FunctionEntry> entries, const char *source) {
    std::stable_sort(entries.begin(), entries.end(),
                     [](const auto &a, const auto &b) { return a.address < b.address; });
    size_t length = 0;
    for (const FunctionEntry &entry : entries)
        length += entry.name.size() + 1;
    if (length > MOST_NAMES)
        malformed("the names of its functions are too long");
    FunctionTable table;
    table.source = source;
    table.names.reserve(length);
    for (const FunctionEntry &entry : entries) {
        if (!table.addresses.empty())
            table.names += '\n';
        size_t start = table.names.size();
        table.names += entry.name;
        // One line each, whatever the file says.
        std::replace(table.names.begin() + static_cast<ptrdiff_t>(start), table.names.end(), '\n',
                     ' ');
        table.addresses.push_back(static_cast<double>(entry.address));
        table.sizes.push_back(static_cast<double>(entry.size));
    }
    return table;
}

std::optional<FunctionTable> symbol_functions(const ElfFile &elf, uint32_t section_type, bool go) {
    std::optional<SymbolTable> symbols = SymbolTable::load(elf, section_type);
    if (!symbols)
        return std::nullopt;
    std::vector<FunctionEntry> entries;
    bool has_go = false;
    symbols->for_each([&](const Symbol &symbol) {
        // Go marks places such as runtime.etext by functions without a size.
        if (symbol.type != STT_FUNC || (go && symbol.size == 0) || !elf.is_code(symbol.address))
            return;
        has_go = has_go || symbol.name.substr(0, 8) == "runtime.";
        bool fits = elf.segment_with(symbol.address, symbol.size) != nullptr;
        std::string_view name = symbol.name;
        // The linker's mark of assembly's calling convention is no part of the name.
        constexpr std::string_view ASSEMBLY = ".abi0";
        if (go && name.size() > ASSEMBLY.size() &&
            name.substr(name.size() - ASSEMBLY.size()) == ASSEMBLY)
            name.remove_suffix(ASSEMBLY.size());
        entries.push_back({symbol.address, fits ? symbol.size : 0, name});
    });
    if (entries.empty() || (go && !has_go))
        return std::nullopt;
    return to_table(std::move(entries), section_type == SHT_SYMTAB ? "symtab" : "dynsym");
}

std::vector<InterfaceTable> interface_tables(const ElfFile &elf,
                                             const std::string &interface_name) {
    std::vector<InterfaceTable> tables;
    std::optional<SymbolTable> symbols = SymbolTable::load(elf, SHT_SYMTAB);
    if (!symbols)
        return tables;
    const std::string suffix = "," + interface_name;
    symbols->for_each([&](const Symbol &symbol) {
        std::string_view name = symbol.name;
        // "go.itab." up to Go 1.19.
        if (name.substr(0, 8) != "go:itab." && name.substr(0, 8) != "go.itab.")
            return;
        name.remove_prefix(8);
        if (name.size() <= suffix.size() || name.substr(name.size() - suffix.size()) != suffix)
            return;
        name.remove_suffix(suffix.size());
        if (elf.segment_with(symbol.address, 16))
            tables.push_back({std::string(name), symbol.address, {}, {}});
    });
    if (tables.empty())
        return tables;
    Relocations relocations(elf);
    auto known = [&](uint64_t address) -> std::optional<uint64_t> {
        std::optional<uint64_t> value = relocations.pointer(address);
        return value && elf.segment_with(*value, 1) ? value : std::nullopt;
    };
    for (InterfaceTable &table : tables) {
        table.interface_address = known(table.itab);
        table.type_address = known(table.itab + 8);
    }
    return tables;
}
