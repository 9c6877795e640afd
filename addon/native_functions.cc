#include "native_functions.h"

#include <elf.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "demangle.h"

// Beyond it names stay as the linker wrote them, which is shorter.
static constexpr size_t MOST_DEMANGLED = 192u << 20;
static constexpr size_t MOST_NAMES = 256u << 20;
static constexpr uint8_t IFUNC = 1; // FunctionKind in src/native/module.ts

namespace {

struct Function {
    uint64_t address;
    uint64_t size;
    std::string_view symbol; // without its version
    uint32_t source;         // which source file's local symbol it is; 0: global
    uint8_t type;
    bool is_old_version;

    bool is_ifunc() const { return type == STT_GNU_IFUNC; }
};

// Ranges in which functions can lie, where the file says so.
class CodeSections {
  public:
    explicit CodeSections(const ElfFile &elf) : elf_(elf) {
        for (const Section &section : elf.sections()) {
            if (!(section.flags & SHF_ALLOC) || section.size == 0)
                continue;
            has_sections_ = true;
            // Stubs of the linker's, which stand for functions of other files.
            if ((section.flags & SHF_EXECINSTR) && section.name.substr(0, 4) != ".plt" &&
                section.size <= UINT64_MAX - section.address)
                ranges_.push_back({section.address, section.address + section.size});
        }
        std::sort(ranges_.begin(), ranges_.end());
    }

    bool has(uint64_t address) const {
        return elf_.is_code(address) && (!has_sections_ || end_of(address) != 0);
    }

    // Of the section that holds the address; 0 if that is not known.
    uint64_t end_of(uint64_t address) const {
        auto after =
            std::upper_bound(ranges_.begin(), ranges_.end(), std::pair(address, UINT64_MAX));
        if (after == ranges_.begin())
            return 0;
        return address < (after - 1)->second ? (after - 1)->second : 0;
    }

  private:
    const ElfFile &elf_;
    std::vector<std::pair<uint64_t, uint64_t>> ranges_;
    bool has_sections_ = false;
};

class Collector {
  public:
    explicit Collector(const ElfFile &elf) : elf_(elf), sections_(elf) {}

    void add(const ElfFile &from, uint32_t section_type);
    FunctionTable table();

  private:
    void drop_old_versions();
    void complete_sizes();
    void merge();
    void name(FunctionTable &table);
    void add_parts(FunctionTable &table);
    std::optional<uint64_t> owner_of(const Function &part,
                                     const std::vector<const Function *> &candidates) const;

    const ElfFile &elf_;
    CodeSections sections_;
    std::vector<SymbolTable> tables_; // the names' memory
    std::vector<Function> functions_;
    std::vector<Function> parts_; // the symbol is that of the function
    std::vector<uint64_t> labels_;
    uint32_t sources_ = 0;
    bool has_symtab_ = false;
};

// "parse.cold" and "parse.cold.3" are parts of "parse".
std::optional<std::string_view> whole_of(std::string_view symbol) {
    std::string_view base = symbol.substr(0, symbol.find_last_not_of("0123456789") + 1);
    if (base.size() < symbol.size() && !base.empty() && base.back() == '.')
        base.remove_suffix(1);
    else
        base = symbol;
    constexpr std::string_view COLD = ".cold";
    if (base.size() <= COLD.size() || base.substr(base.size() - COLD.size()) != COLD)
        return std::nullopt;
    return base.substr(0, base.size() - COLD.size());
}

void Collector::add(const ElfFile &from, uint32_t section_type) {
    std::optional<SymbolTable> loaded = SymbolTable::load(from, section_type);
    if (!loaded)
        return;
    bool is_dynamic = section_type == SHT_DYNSYM;
    Bytes versions;
    if (const Section *section = is_dynamic ? from.section_of_type(SHT_GNU_versym) : nullptr)
        versions = from.contents(*section);
    tables_.push_back(std::move(*loaded));
    uint32_t source = ++sources_;
    tables_.back().for_each([&](const Symbol &symbol) {
        if (symbol.type == STT_FILE) {
            source = ++sources_;
            return;
        }
        bool is_function = symbol.type == STT_FUNC || symbol.type == STT_GNU_IFUNC;
        if (symbol.type == STT_SECTION || symbol.type == STT_TLS || !sections_.has(symbol.address))
            return;
        labels_.push_back(symbol.address);
        if (!is_function)
            return;
        bool fits = elf_.segment_with(symbol.address, symbol.size) != nullptr;
        Function function{symbol.address, fits ? symbol.size : 0,
                          symbol.name,    symbol.binding == STB_LOCAL ? source : 0,
                          symbol.type,    false};
        // "memcpy@@GLIBC_2.14" is what programs are linked with, "memcpy@GLIBC_2.2.5" what old ones
        // were; .dynsym marks the latter in a table beside it.
        size_t at = symbol.name.find('@');
        if (at != std::string_view::npos && at > 0) {
            function.symbol = symbol.name.substr(0, at);
            function.is_old_version = symbol.name.substr(at, 2) != "@@";
        } else if (versions.size() / 2 > symbol.index) {
            constexpr uint16_t HIDDEN = 0x8000;
            uint16_t version;
            memcpy(&version, versions.data() + symbol.index * 2, sizeof version);
            function.is_old_version = version & HIDDEN;
        }
        if (std::optional<std::string_view> whole = whole_of(function.symbol)) {
            function.symbol = *whole;
            if (function.size > 0)
                parts_.push_back(function);
            return;
        }
        has_symtab_ = has_symtab_ || !is_dynamic;
        functions_.push_back(function);
    });
}

// One who names a function means the version that programs are linked with now.
void Collector::drop_old_versions() {
    std::unordered_set<std::string_view> old;
    for (const Function &function : functions_)
        if (function.is_old_version)
            old.insert(function.symbol);
    if (old.empty())
        return;
    std::unordered_set<std::string_view> current;
    for (const Function &function : functions_)
        if (!function.is_old_version && function.source == 0 && old.count(function.symbol))
            current.insert(function.symbol);
    std::erase_if(functions_, [&](const Function &function) {
        return function.is_old_version && current.count(function.symbol);
    });
}

// One symbol may stand in several tables.
void Collector::merge() {
    std::sort(functions_.begin(), functions_.end(), [](const Function &a, const Function &b) {
        if (a.address != b.address)
            return a.address < b.address;
        int order = a.symbol.compare(b.symbol);
        return order != 0 ? order < 0 : a.size > b.size;
    });
    auto is_same = [](const Function &a, const Function &b) {
        return a.address == b.address && a.symbol == b.symbol;
    };
    functions_.erase(std::unique(functions_.begin(), functions_.end(), is_same), functions_.end());
}

// Assembly often says nothing about sizes. An alias may know; else the function ends where the next
// symbol of its section begins, at the latest.
void Collector::complete_sizes() {
    std::sort(labels_.begin(), labels_.end());
    for (size_t first = 0; first < functions_.size();) {
        size_t end = first;
        uint64_t size = 0;
        while (end < functions_.size() && functions_[end].address == functions_[first].address)
            size = std::max(size, functions_[end++].size);
        if (size == 0) {
            uint64_t address = functions_[first].address;
            auto next = std::upper_bound(labels_.begin(), labels_.end(), address);
            uint64_t limit = sections_.end_of(address);
            if (next != labels_.end() && *next < limit &&
                elf_.segment_with(address, *next - address))
                size = *next - address;
        }
        for (; first < end; first++)
            if (functions_[first].size == 0)
                functions_[first].size = size;
    }
    labels_ = {};
}

void append_line(std::string &lines, std::string_view line) {
    size_t start = lines.size();
    lines += line;
    // One line each, whatever the file says.
    std::replace(lines.begin() + static_cast<ptrdiff_t>(start), lines.end(), '\n', ' ');
}

void Collector::name(FunctionTable &table) {
    Demangler demangler;
    std::string previous_name, previous_signature;
    for (const Function &function : functions_) {
        bool is_full = table.names.size() + table.signatures.size() > MOST_DEMANGLED;
        std::string_view name = function.symbol, signature;
        if (!is_full) {
            const Demangler::Names &names = demangler.demangle(function.symbol);
            name = names.name;
            signature = names.signature;
        }
        if (table.names.size() + name.size() > MOST_NAMES)
            malformed("the names of its functions are too long");
        bool is_first = table.addresses.empty();
        auto address = static_cast<double>(function.address);
        // The variants of a constructor are mostly one piece of code, and have one name.
        if (!is_first && table.addresses.back() == address && previous_name == name &&
            previous_signature == signature)
            continue;
        previous_name = name;
        previous_signature = signature;
        if (!is_first) {
            table.names += '\n';
            table.signatures += '\n';
        }
        append_line(table.names, name);
        append_line(table.signatures, signature);
        table.addresses.push_back(address);
        table.sizes.push_back(static_cast<double>(function.size));
        table.kinds.push_back(function.is_ifunc() ? IFUNC : 0);
    }
}

// A part is a local symbol, as is its function if another source has one of the same name.
std::optional<uint64_t> Collector::owner_of(const Function &part,
                                            const std::vector<const Function *> &candidates) const {
    auto only = [&](auto fits) -> std::optional<uint64_t> {
        std::optional<uint64_t> address;
        for (const Function *candidate : candidates) {
            if (!fits(*candidate))
                continue;
            if (address && *address != candidate->address)
                return std::nullopt;
            address = candidate->address;
        }
        return address;
    };
    if (auto address = only([](const Function &) { return true; }))
        return address;
    if (auto address = only([&](const Function &each) { return each.source == part.source; }))
        return address;
    return only([](const Function &each) { return each.source == 0; });
}

void Collector::add_parts(FunctionTable &table) {
    std::unordered_map<std::string_view, std::vector<const Function *>> by_symbol;
    for (const Function &part : parts_)
        by_symbol[part.symbol];
    if (by_symbol.empty())
        return;
    for (const Function &function : functions_)
        if (auto found = by_symbol.find(function.symbol); found != by_symbol.end())
            found->second.push_back(&function);
    std::unordered_set<uint64_t> seen;
    for (const Function &part : parts_) {
        std::optional<uint64_t> owner = owner_of(part, by_symbol[part.symbol]);
        if (!owner || !seen.insert(part.address).second)
            continue;
        auto address = static_cast<double>(*owner);
        auto row = std::lower_bound(table.addresses.begin(), table.addresses.end(), address);
        // Of all names that the function has.
        for (; row != table.addresses.end() && *row == address; row++) {
            table.parts.functions.push_back(static_cast<double>(row - table.addresses.begin()));
            table.parts.addresses.push_back(static_cast<double>(part.address));
            table.parts.sizes.push_back(static_cast<double>(part.size));
        }
    }
}

FunctionTable Collector::table() {
    drop_old_versions();
    merge();
    complete_sizes();
    FunctionTable table;
    table.source = has_symtab_ ? "symtab" : "dynsym";
    name(table);
    add_parts(table);
    return table;
}

} // namespace

FunctionTable native_functions(const ElfFile &elf, const std::vector<const ElfFile *> &others) {
    Collector collector(elf);
    collector.add(elf, SHT_SYMTAB);
    for (const ElfFile *other : others)
        collector.add(*other, SHT_SYMTAB);
    collector.add(elf, SHT_DYNSYM);
    return collector.table();
}
