#include "module.h"

#include <elf.h>
#include <malloc.h>

#include "dwarf_lines.h"
#include "instructions.h"

ModuleFile::ModuleFile(const std::string &path) : elf_(path) {
    facts_.path = path;
    facts_.build_id = elf_.build_id();
    facts_.has_symbols = elf_.section_of_type(SHT_SYMTAB) != nullptr;
    facts_.has_dwarf = elf_.has_debug_section("info");
    facts_.build_info = read_build_info(elf_);
    // External linking can merge the table into another section, and some tools drop all section
    // headers: only there the whole file is searched.
    search_pclntab_ = facts_.build_info.has_value() || elf_.sections().empty();
    facts_.is_go = facts_.build_info || Pclntab::has_section(elf_) ||
                   (search_pclntab_ && Pclntab::load(elf_, true));
}

std::optional<Pclntab> ModuleFile::pclntab() const {
    return facts_.is_go ? Pclntab::load(elf_, search_pclntab_) : std::nullopt;
}

FunctionTable ModuleFile::functions() const {
    if (auto table = symbol_functions(elf_, SHT_SYMTAB, facts_.is_go))
        return std::move(*table);
    if (auto table = pclntab())
        return table->functions();
    if (auto table = symbol_functions(elf_, SHT_SYMTAB, false))
        return std::move(*table);
    if (auto table = symbol_functions(elf_, SHT_DYNSYM, false))
        return std::move(*table);
    return {};
}

Bytes ModuleFile::instructions(const std::vector<uint64_t> &addresses,
                               const std::vector<uint64_t> &sizes) const {
    return decode_functions(elf_, addresses, sizes);
}

const dwarf::Reader &ModuleFile::reader() {
    if (!reader_)
        reader_ = std::make_unique<dwarf::Reader>(elf_);
    return *reader_;
}

const dwarf::Index &ModuleFile::index() {
    if (!index_)
        index_ = std::make_unique<dwarf::Index>(elf_, reader());
    return *index_;
}

std::vector<std::optional<std::vector<Parameter>>>
ModuleFile::parameters(const std::vector<uint64_t> &addresses) {
    std::vector<std::optional<std::vector<Parameter>>> parameters(addresses.size());
    if (!facts_.has_dwarf)
        return parameters;
    std::optional<Pclntab> table = pclntab();
    std::lock_guard lock(dwarf_);
    ParameterReader from(reader(), index(), table ? &*table : nullptr);
    for (size_t i = 0; i < addresses.size(); i++)
        parameters[i] = from.parameters(addresses[i]);
    return parameters;
}

std::vector<dwarf::Inlined> ModuleFile::inlined() {
    if (!facts_.has_dwarf)
        return {};
    std::lock_guard lock(dwarf_);
    return dwarf::inlined_functions(elf_, reader());
}

std::vector<std::optional<uint64_t>> ModuleFile::field_offsets(const std::vector<Field> &fields) {
    std::vector<std::optional<uint64_t>> offsets(fields.size());
    if (!facts_.has_dwarf)
        return offsets;
    std::lock_guard lock(dwarf_);
    for (size_t i = 0; i < fields.size(); i++)
        offsets[i] = dwarf::field_offset(reader(), index(), fields[i].type, fields[i].field);
    return offsets;
}

std::vector<std::optional<uint64_t>>
ModuleFile::runtime_types(const std::vector<std::string> &names) {
    std::vector<std::optional<uint64_t>> addresses(names.size());
    if (!facts_.has_dwarf)
        return addresses;
    std::lock_guard lock(dwarf_);
    if (!types_base_)
        types_base_ = find_types_base();
    if (!types_base_)
        return addresses;
    for (size_t i = 0; i < names.size(); i++) {
        std::optional<uint64_t> value = dwarf::runtime_type(reader(), index(), names[i]);
        if (value && elf_.segment_with(*types_base_ + *value, 1))
            addresses[i] = *types_base_ + *value;
    }
    return addresses;
}

// What the values of DW_AT_go_runtime_type count from, by types whose address an itab tells too:
// nothing in DWARF does. All of them must agree.
std::optional<uint64_t> ModuleFile::find_types_base() {
    constexpr unsigned ENOUGH = 8;
    std::optional<uint64_t> base;
    unsigned agreeing = 0;
    for (const InterfaceTable &table : ::interface_tables(elf_, "error")) {
        std::optional<uint64_t> value = dwarf::runtime_type(reader(), index(), table.type);
        if (!value || !table.type_address)
            continue;
        uint64_t difference = *table.type_address - *value;
        if (base && *base != difference)
            return std::nullopt;
        base = difference;
        if (++agreeing == ENOUGH)
            break;
    }
    return base;
}

std::vector<InterfaceTable> ModuleFile::interface_tables(const std::string &interface_name) const {
    return ::interface_tables(elf_, interface_name);
}

std::vector<std::optional<SourceLine>> ModuleFile::lines(const std::vector<uint64_t> &addresses) {
    std::vector<std::optional<SourceLine>> lines(addresses.size());
    bool complete = true;
    std::optional<Pclntab> table = pclntab();
    for (size_t i = 0; i < addresses.size(); i++) {
        if (table)
            lines[i] = table->line_of(addresses[i]);
        complete = complete && lines[i];
    }
    if (!complete && facts_.has_dwarf) {
        std::lock_guard lock(dwarf_);
        dwarf::find_lines(reader(), addresses, lines);
    }
    return lines;
}

void ModuleFile::trim() {
    std::unique_lock lock(dwarf_, std::try_to_lock);
    if (!lock || !reader_)
        return;
    reader_.reset();
    malloc_trim(0);
}
