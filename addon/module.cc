#include "module.h"

#include <elf.h>
#include <malloc.h>

#include <algorithm>
#include <unordered_set>

#include "demangle.h"
#include "dwarf_lines.h"
#include "go_methods.h"
#include "instructions.h"
#include "native_functions.h"

ModuleFile::ModuleFile(const std::string &path, const std::vector<std::string> &debug_roots)
    : elf_(path) {
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
    if (!facts_.is_go && !(facts_.has_symbols && facts_.has_dwarf))
        add_debug_file(debug_roots);
}

// Go has tables of its own, which no one strips.
void ModuleFile::add_debug_file(const std::vector<std::string> &roots) {
    debug_ = find_debug_file(elf_, roots);
    if (!facts_.has_symbols)
        facts_.has_symbols =
            elf_.section(".gnu_debugdata") || (debug_ && debug_->section_of_type(SHT_SYMTAB));
    if (!facts_.has_dwarf && debug_ && debug_->has_debug_section("info")) {
        facts_.has_dwarf = true;
        dwarf_is_apart_ = true;
    }
}

std::shared_ptr<const Pclntab> ModuleFile::pclntab() const {
    if (!facts_.is_go)
        return nullptr;
    std::lock_guard lock(pclntab_lock_);
    if (!pclntab_)
        if (std::optional<Pclntab> table = Pclntab::load(elf_, search_pclntab_))
            pclntab_ = std::make_shared<const Pclntab>(std::move(*table));
    return pclntab_;
}

FunctionTable ModuleFile::functions() const {
    if (!facts_.is_go) {
        std::unique_ptr<ElfFile> embedded = embedded_debug_data(elf_);
        std::vector<const ElfFile *> others;
        for (const ElfFile *other : {embedded.get(), debug_.get()})
            if (other)
                others.push_back(other);
        return native_functions(elf_, others);
    }
    if (auto table = symbol_functions(elf_, SHT_SYMTAB, true))
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
                               const std::vector<uint64_t> &sizes,
                               const std::vector<uint64_t> &owners) const {
    return decode_functions(elf_, addresses, sizes, owners);
}

std::vector<std::optional<std::string>>
ModuleFile::disassemble(const std::vector<uint64_t> &addresses) const {
    return ::disassemble(elf_, addresses);
}

const dwarf::Reader &ModuleFile::reader() {
    if (!reader_)
        reader_ = std::make_unique<dwarf::Reader>(dwarf_is_apart_ ? *debug_ : elf_);
    return *reader_;
}

const dwarf::Index &ModuleFile::index() {
    if (!index_)
        index_ = std::make_unique<dwarf::Index>(elf_, reader());
    return *index_;
}

// The runtime's tables know every parameter of a method, where DWARF leaves out those that are not
// used; only DWARF has their names.
static std::vector<Parameter> with_names(std::vector<Parameter> typed,
                                         const std::optional<std::vector<Parameter>> &by_dwarf) {
    size_t next = 0;
    for (Parameter &parameter : typed) {
        if (!by_dwarf)
            break;
        for (size_t i = next; i < by_dwarf->size(); i++) {
            const Parameter &named = (*by_dwarf)[i];
            if (named.result != parameter.result || named.type != parameter.type)
                continue;
            parameter.name = named.name;
            next = i + 1;
            break;
        }
    }
    return typed;
}

std::vector<std::optional<std::vector<Parameter>>>
ModuleFile::parameters(const std::vector<uint64_t> &addresses) {
    std::vector<std::optional<std::vector<Parameter>>> parameters(addresses.size());
    std::shared_ptr<const Pclntab> table = pclntab();
    std::lock_guard lock(lock_);
    if (facts_.has_dwarf) {
        ParameterReader from(reader(), index(), table.get());
        for (size_t i = 0; i < addresses.size(); i++)
            parameters[i] = from.parameters(addresses[i]);
    }
    if (const GoTypes *known = types()) {
        MethodTable methods(*known);
        for (size_t i = 0; i < addresses.size(); i++)
            if (auto typed = methods.parameters(addresses[i], table->argument_bytes(addresses[i])))
                parameters[i] = with_names(std::move(*typed), parameters[i]);
    }
    return parameters;
}

native::TypeReader &ModuleFile::native_type_reader() {
    if (!native_types_)
        native_types_ = std::make_unique<native::TypeReader>(reader());
    return *native_types_;
}

std::vector<std::optional<native::Function>>
ModuleFile::native_parameters(const std::vector<uint64_t> &addresses) {
    std::vector<std::optional<native::Function>> functions(addresses.size());
    if (!facts_.has_dwarf)
        return functions;
    std::lock_guard lock(lock_);
    std::vector<const ElfFile *> files = {&elf_};
    if (debug_)
        files.push_back(debug_.get());
    native::ParameterReader from(files, index(), native_type_reader());
    for (size_t i = 0; i < addresses.size(); i++)
        functions[i] = from.function(addresses[i]);
    return functions;
}

std::vector<native::Type> ModuleFile::native_types(const std::vector<uint64_t> &ids) {
    std::vector<native::Type> types(ids.size());
    std::lock_guard lock(lock_);
    for (size_t i = 0; i < ids.size(); i++)
        types[i] = native_type_reader().type(ids[i]);
    return types;
}

std::vector<std::string> ModuleFile::native_type_names(const std::vector<uint64_t> &ids) {
    std::vector<std::string> names(ids.size());
    std::lock_guard lock(lock_);
    for (size_t i = 0; i < ids.size(); i++)
        names[i] = native_type_reader().qualified_name(ids[i]);
    return names;
}

std::vector<std::optional<uint64_t>>
ModuleFile::argument_bytes(const std::vector<uint64_t> &addresses) const {
    std::vector<std::optional<uint64_t>> bytes(addresses.size());
    if (std::shared_ptr<const Pclntab> table = pclntab())
        for (size_t i = 0; i < addresses.size(); i++)
            bytes[i] = table->argument_bytes(addresses[i]);
    return bytes;
}

std::vector<dwarf::Inlined> ModuleFile::inlined() {
    if (!facts_.has_dwarf)
        return {};
    std::unique_lock lock(lock_);
    std::vector<dwarf::Inlined> inlined;
    index_ = std::make_unique<dwarf::Index>(elf_, reader(), &inlined);
    lock.unlock();
    if (!facts_.is_go) {
        Demangler demangler;
        for (dwarf::Inlined &each : inlined) {
            each.name = demangler.demangle(each.name).name;
            for (std::string &into : each.into)
                into = demangler.demangle(into).name;
        }
    }
    return inlined;
}

const GoTypes *ModuleFile::types() {
    if (!types_sought_ && facts_.is_go) {
        types_sought_ = true;
        if (std::shared_ptr<const Pclntab> table = pclntab())
            types_ = GoTypes::load(elf_, table->module_data());
    }
    return types_ ? &*types_ : nullptr;
}

static std::optional<uint64_t> offset_within(const GoTypes &types, uint64_t type,
                                             std::string_view path) {
    uint64_t total = 0;
    for (;;) {
        std::string_view name = path.substr(0, path.find('.'));
        std::vector<GoTypes::Field> fields = types.fields(type);
        auto field = std::find_if(fields.begin(), fields.end(),
                                  [&](const GoTypes::Field &each) { return each.name == name; });
        if (field == fields.end())
            return std::nullopt;
        total += field->offset;
        if (name.size() == path.size())
            return total;
        path.remove_prefix(name.size() + 1);
        type = field->type;
    }
}

std::vector<std::optional<uint64_t>> ModuleFile::field_offsets(const std::vector<Field> &fields) {
    std::vector<std::optional<uint64_t>> offsets(fields.size());
    std::lock_guard lock(lock_);
    for (size_t i = 0; i < fields.size(); i++) {
        const auto &[type, field] = fields[i];
        if (facts_.has_dwarf)
            offsets[i] = dwarf::field_offset(reader(), index(), type, field);
        if (const GoTypes *known = offsets[i] ? nullptr : types())
            if (std::optional<uint64_t> found = known->find(type))
                offsets[i] = offset_within(*known, *found, field);
    }
    return offsets;
}

std::vector<std::optional<uint64_t>>
ModuleFile::runtime_types(const std::vector<std::string> &names) {
    std::vector<std::optional<uint64_t>> addresses(names.size());
    std::lock_guard lock(lock_);
    for (size_t i = 0; i < names.size(); i++) {
        if (const GoTypes *known = types())
            addresses[i] = known->find(names[i]);
        if (!addresses[i] && facts_.has_dwarf)
            addresses[i] = runtime_type_by_dwarf(names[i]);
    }
    return addresses;
}

std::optional<uint64_t> ModuleFile::runtime_type_by_dwarf(const std::string &name) {
    if (!types_base_)
        types_base_ = find_types_base();
    if (!types_base_)
        return std::nullopt;
    std::optional<uint64_t> value = dwarf::runtime_type(reader(), index(), name);
    if (!value || !elf_.segment_with(*types_base_ + *value, 1))
        return std::nullopt;
    return *types_base_ + *value;
}

static std::optional<TypeDescription> describe(const GoTypes &types, const std::string &name) {
    std::optional<uint64_t> type = types.find(name);
    if (!type)
        return std::nullopt;
    auto name_of = [&](std::optional<uint64_t> of) {
        return of ? std::optional(types.name(*of)) : std::nullopt;
    };
    TypeDescription description;
    description.name = name;
    description.kind = kind_name(static_cast<uint64_t>(types.kind(*type)));
    description.size = types.size(*type);
    description.element = name_of(types.element(*type));
    description.key = name_of(types.key(*type));
    if (types.kind(*type) == GoKind::ARRAY)
        description.count = types.count(*type);
    for (const GoTypes::Field &field : types.fields(*type))
        description.fields.push_back(
            {field.name, types.name(field.type), field.offset, field.embedded});
    description.methods = types.interface_methods(*type);
    return description;
}

std::vector<std::optional<TypeDescription>>
ModuleFile::describe_types(const std::vector<std::string> &names) {
    std::vector<std::optional<TypeDescription>> types(names.size());
    std::lock_guard lock(lock_);
    for (size_t i = 0; i < names.size(); i++) {
        if (facts_.has_dwarf)
            types[i] = dwarf::describe_type(reader(), index(), names[i]);
        // Only the runtime knows what an interface demands.
        const GoTypes *known = this->types();
        std::optional<TypeDescription> runtime = known ? describe(*known, names[i]) : std::nullopt;
        if (!types[i])
            types[i] = std::move(runtime);
        else if (runtime)
            types[i]->methods = std::move(runtime->methods);
    }
    return types;
}

std::vector<std::optional<std::string>>
ModuleFile::type_names(const std::vector<uint64_t> &addresses) {
    std::vector<std::optional<std::string>> names(addresses.size());
    std::lock_guard lock(lock_);
    const GoTypes *known = types();
    for (size_t i = 0; i < addresses.size() && known; i++)
        if (known->is_type(addresses[i]))
            names[i] = known->name(addresses[i]);
    return names;
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

// By symbol where there are any (the linker wrote them up to Go 1.26), else by the runtime's list.
std::vector<InterfaceTable> ModuleFile::interface_tables(const std::string &interface_name) {
    std::vector<InterfaceTable> tables = ::interface_tables(elf_, interface_name);
    std::lock_guard lock(lock_);
    const GoTypes *known = types();
    if (!known)
        return tables;
    std::unordered_set<uint64_t> listed;
    for (const InterfaceTable &table : tables)
        listed.insert(table.itab);
    for (const GoTypes::Itab &itab : known->itabs())
        if (!listed.count(itab.address) && known->name(itab.interface) == interface_name)
            tables.push_back({known->name(itab.type), itab.address, itab.type, itab.interface});
    return tables;
}

std::vector<std::optional<SourceLine>> ModuleFile::lines(const std::vector<uint64_t> &addresses) {
    std::vector<std::optional<SourceLine>> lines(addresses.size());
    bool complete = true;
    std::shared_ptr<const Pclntab> table = pclntab();
    for (size_t i = 0; i < addresses.size(); i++) {
        if (table)
            lines[i] = table->line_of(addresses[i]);
        complete = complete && lines[i];
    }
    if (!complete && facts_.has_dwarf) {
        std::lock_guard lock(lock_);
        dwarf::find_lines(reader(), addresses, lines);
    }
    return lines;
}

void ModuleFile::trim() {
    std::unique_lock lock(lock_, std::try_to_lock);
    if (!lock)
        return;
    native_types_.reset();
    reader_.reset();
    types_.reset();
    types_sought_ = false;
    std::lock_guard table_lock(pclntab_lock_);
    pclntab_.reset();
    malloc_trim(0);
}
