#include "dwarf_types.h"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <unordered_set>

#include "dwarf_lists.h"

namespace dwarf {

static constexpr unsigned MOST_LINKS = 32;
static constexpr size_t MOST_CALLERS = 8;

static bool is_type(uint16_t tag) {
    switch (tag) {
    case TAG_ARRAY:
    case TAG_CLASS:
    case TAG_ENUMERATION:
    case TAG_POINTER:
    case TAG_STRUCTURE:
    case TAG_SUBROUTINE_TYPE:
    case TAG_TYPEDEF:
    case TAG_UNION:
    case TAG_BASE_TYPE:
        return true;
    default:
        return false;
    }
}

static bool is_record(uint16_t tag) {
    return tag == TAG_STRUCTURE || tag == TAG_CLASS || tag == TAG_UNION;
}

static bool read_at(const Reader &reader, uint64_t offset, Entry &entry) {
    const Unit *unit = reader.unit_of(offset);
    if (!unit)
        return false;
    reader.read(*unit, offset, entry);
    return true;
}

static size_t hash_of(std::string_view name) { return std::hash<std::string_view>()(name); }

void Index::sort(std::vector<Row> &rows) {
    std::stable_sort(rows.begin(), rows.end(),
                     [](const Row &a, const Row &b) { return a.key < b.key; });
    rows.shrink_to_fit();
}

// Where a function begins: of one in several ranges, the first.
static std::optional<uint64_t> start_of(const Reader &reader, const Unit &unit,
                                        const Entry &entry) {
    if (!entry.find(AT_RANGES))
        return entry.number(AT_LOW_PC, Class::ADDRESS);
    std::vector<Range> ranges = ranges_of(reader, unit, entry);
    return ranges.empty() ? std::nullopt : std::optional(ranges[0].start);
}

static std::optional<uint64_t> code_address(const ElfFile &elf, const Reader &reader,
                                            const Unit &unit, const Entry &entry) {
    std::optional<uint64_t> address = start_of(reader, unit, entry);
    // Linkers leave entries of functions that they dropped, at zero.
    return address && elf.is_code(*address) ? address : std::nullopt;
}

// Of each function that is inlined somewhere, by its abstract entry: the first it is inlined into.
using Callers = std::unordered_map<uint64_t, std::vector<uint64_t>>;

static void add_caller(Callers &callers, const Entry &call, uint64_t function) {
    std::optional<uint64_t> origin = call.number(AT_ABSTRACT_ORIGIN, Class::REFERENCE);
    if (!origin)
        return;
    std::vector<uint64_t> &into = callers[*origin];
    if (into.size() < MOST_CALLERS && std::find(into.begin(), into.end(), function) == into.end())
        into.push_back(function);
}

static std::vector<Inlined> named(const Reader &reader, const Callers &callers,
                                  const std::unordered_set<size_t> &with_code) {
    // C has a copy of a header's function in every unit.
    std::map<std::string_view, std::vector<std::string_view>> by_name;
    Entry entry;
    for (const auto &[origin, functions] : callers) {
        if (!read_at(reader, origin, entry))
            continue;
        std::string_view name = reader.name_of(entry);
        if (name.empty())
            continue;
        std::vector<std::string_view> &into = by_name[name];
        for (uint64_t function : functions) {
            if (into.size() >= MOST_CALLERS || !read_at(reader, function, entry))
                continue;
            std::string_view caller = reader.name_of(entry);
            if (std::find(into.begin(), into.end(), caller) == into.end())
                into.push_back(caller);
        }
    }
    std::vector<Inlined> inlined;
    for (auto &[name, into] : by_name) {
        std::sort(into.begin(), into.end());
        inlined.push_back(
            {std::string(name), {into.begin(), into.end()}, with_code.count(hash_of(name)) > 0});
    }
    return inlined;
}

static bool is_indexed(uint16_t tag, unsigned depth) {
    return tag == TAG_SUBPROGRAM || (depth == 1 && is_type(tag));
}

static bool is_indexed_or_inlined(uint16_t tag, unsigned depth) {
    return tag == TAG_INLINED_SUBROUTINE || is_indexed(tag, depth);
}

Index::Index(const ElfFile &elf, const Reader &reader, std::vector<Inlined> *inlined) {
    Callers callers;
    std::unordered_set<size_t> with_code; // hashes of names
    for (const Unit &unit : reader.units()) {
        uint64_t function = 0;
        unsigned function_depth = 0;
        reader.walk(unit, inlined ? is_indexed_or_inlined : is_indexed,
                    [&](const Entry &entry, unsigned depth) {
                        if (function != 0 && depth <= function_depth)
                            function = 0;
                        if (entry.tag == TAG_INLINED_SUBROUTINE) {
                            if (function != 0)
                                add_caller(callers, entry, function);
                        } else if (entry.tag == TAG_SUBPROGRAM) {
                            std::optional<uint64_t> address =
                                code_address(elf, reader, unit, entry);
                            if (!address)
                                return true;
                            functions_.push_back({*address, entry.offset});
                            function = entry.offset;
                            function_depth = depth;
                            if (inlined)
                                with_code.insert(hash_of(reader.name_of(entry)));
                        } else if (!entry.find(AT_DECLARATION)) {
                            std::string_view name = entry.text(AT_NAME);
                            if (!name.empty())
                                types_.push_back({hash_of(name), entry.offset});
                        }
                        return true;
                    });
    }
    sort(types_);
    sort(functions_);
    if (inlined)
        *inlined = named(reader, callers, with_code);
}

std::vector<uint64_t> Index::types(const Reader &reader, std::string_view name) const {
    uint64_t key = hash_of(name);
    std::vector<uint64_t> offsets;
    Entry entry;
    auto row = std::lower_bound(types_.begin(), types_.end(), key,
                                [](const Row &a, uint64_t wanted) { return a.key < wanted; });
    for (; row != types_.end() && row->key == key; ++row) {
        const Unit *unit = reader.unit_of(row->entry);
        if (!unit)
            continue;
        reader.read(*unit, row->entry, entry);
        if (entry.text(AT_NAME) == name)
            offsets.push_back(row->entry);
    }
    return offsets;
}

std::optional<uint64_t> Index::function(uint64_t address) const {
    auto row = std::lower_bound(functions_.begin(), functions_.end(), address,
                                [](const Row &a, uint64_t wanted) { return a.key < wanted; });
    if (row == functions_.end() || row->key != address)
        return std::nullopt;
    return row->entry;
}

std::optional<Entry> underlying_type(const Reader &reader, uint64_t offset) {
    Entry entry;
    for (unsigned i = 0; i < MOST_LINKS; i++) {
        if (!read_at(reader, offset, entry))
            return std::nullopt;
        if (entry.tag != TAG_TYPEDEF && entry.tag != TAG_CONST && entry.tag != TAG_VOLATILE)
            return entry;
        std::optional<uint64_t> next = entry.number(AT_TYPE, Class::REFERENCE);
        if (!next)
            return std::nullopt;
        offset = *next;
    }
    return std::nullopt;
}

// Where a member lies in its struct: a constant, or up to DWARF 3 DW_OP_plus_uconst.
std::optional<uint64_t> member_offset(const Entry &member) {
    const Attribute *location = member.find(AT_DATA_MEMBER_LOCATION);
    if (!location)
        return 0;
    if (location->kind == Class::CONSTANT)
        return location->number;
    constexpr uint8_t PLUS_UCONST = 0x23;
    if (location->kind != Class::BLOCK)
        return std::nullopt;
    Cursor cursor(reinterpret_cast<const uint8_t *>(location->bytes.data()),
                  location->bytes.size());
    if (cursor.left() < 2 || cursor.u8() != PLUS_UCONST)
        return std::nullopt;
    return cursor.uleb128();
}

static std::optional<uint64_t> offset_within(const Reader &reader, uint64_t type,
                                             std::string_view path) {
    uint64_t total = 0;
    for (unsigned i = 0; i < MOST_LINKS; i++) {
        std::optional<Entry> record = underlying_type(reader, type);
        if (!record || !is_record(record->tag))
            return std::nullopt;
        std::string_view name = path.substr(0, path.find('.'));
        std::optional<uint64_t> at, next;
        reader.children(record->offset, [&](const Entry &child) {
            if (child.tag != TAG_MEMBER || child.text(AT_NAME) != name)
                return true;
            at = member_offset(child);
            next = child.number(AT_TYPE, Class::REFERENCE);
            return false;
        });
        if (!at)
            return std::nullopt;
        total += *at;
        if (name.size() == path.size())
            return total;
        if (!next)
            return std::nullopt;
        path.remove_prefix(name.size() + 1);
        type = *next;
    }
    return std::nullopt;
}

std::optional<uint64_t> field_offset(const Reader &reader, const Index &index,
                                     const std::string &type, const std::string &field) {
    constexpr uint64_t LARGEST = uint64_t{1} << 48;
    for (uint64_t offset : index.types(reader, type))
        if (std::optional<uint64_t> at = offset_within(reader, offset, field); at && *at < LARGEST)
            return at;
    return std::nullopt;
}

std::optional<uint64_t> runtime_type(const Reader &reader, const Index &index,
                                     const std::string &name) {
    Entry entry;
    for (uint64_t offset : index.types(reader, name)) {
        if (!read_at(reader, offset, entry))
            continue;
        std::optional<uint64_t> value = entry.number(AT_GO_RUNTIME_TYPE, Class::ADDRESS);
        if (value && *value != 0)
            return value;
    }
    return std::nullopt;
}

std::string type_name(const Reader &reader, uint64_t offset) {
    Entry entry;
    std::string stars;
    for (unsigned i = 0; i < MOST_LINKS && read_at(reader, offset, entry); i++) {
        // ".param0" stands for a type parameter, and says nothing itself.
        std::string_view name = entry.text(AT_NAME);
        bool is_parameter = entry.tag == TAG_TYPEDEF && name.substr(0, 6) == ".param";
        if (!name.empty() && !is_parameter)
            return stars + std::string(name);
        std::optional<uint64_t> next = entry.number(AT_TYPE, Class::REFERENCE);
        if (entry.tag == TAG_POINTER)
            stars += '*';
        if (!next)
            return entry.tag == TAG_POINTER ? stars + "void" : stars + "?";
        offset = *next;
    }
    return stars + "?";
}

static std::vector<TypeDescription::Field> describe_fields(const Reader &reader,
                                                           const Entry &record) {
    constexpr size_t MOST_FIELDS = 4096;
    std::vector<TypeDescription::Field> fields;
    reader.children(record.offset, [&](const Entry &child) {
        std::optional<uint64_t> type = child.number(AT_TYPE, Class::REFERENCE);
        std::optional<uint64_t> at = member_offset(child);
        if (child.tag == TAG_MEMBER && type && at) {
            const Attribute *embedded = child.find(AT_GO_EMBEDDED);
            fields.push_back({std::string(child.text(AT_NAME)), type_name(reader, *type), *at,
                              embedded && embedded->number != 0});
        }
        return fields.size() < MOST_FIELDS;
    });
    return fields;
}

std::optional<uint64_t> array_count(const Reader &reader, const Entry &array) {
    std::optional<uint64_t> count;
    reader.children(array.offset, [&](const Entry &child) {
        if (child.tag != TAG_SUBRANGE)
            return true;
        count = child.number(AT_COUNT, Class::CONSTANT);
        if (!count)
            if (auto last = child.number(AT_UPPER_BOUND, Class::CONSTANT))
                count = *last + 1;
        return false;
    });
    return count;
}

std::optional<TypeDescription> describe_type(const Reader &reader, const Index &index,
                                             const std::string &name) {
    Entry entry;
    for (uint64_t offset : index.types(reader, name)) {
        if (!read_at(reader, offset, entry))
            continue;
        std::optional<uint64_t> kind = entry.number(AT_GO_KIND, Class::CONSTANT);
        const char *kind_is = kind_name(kind.value_or(0));
        std::optional<Entry> below = underlying_type(reader, offset);
        if (!kind_is || !below)
            continue;
        TypeDescription type;
        type.name = name;
        type.kind = kind_is;
        type.size = below->number(AT_BYTE_SIZE, Class::CONSTANT).value_or(0);
        if (below->tag == TAG_POINTER || below->tag == TAG_SUBROUTINE_TYPE)
            type.size = 8;
        auto name_of = [&](std::optional<uint64_t> reference) {
            return reference ? std::optional(type_name(reader, *reference)) : std::nullopt;
        };
        // Slices, maps and channels are structs of the runtime's, and say themselves of what.
        type.element = name_of(entry.number(AT_GO_ELEMENT, Class::REFERENCE));
        type.key = name_of(entry.number(AT_GO_KEY, Class::REFERENCE));
        if (below->tag == TAG_ARRAY || (below->tag == TAG_POINTER && type.kind == kind_name(22)))
            type.element = name_of(below->number(AT_TYPE, Class::REFERENCE));
        if (below->tag == TAG_ARRAY)
            type.count = array_count(reader, *below);
        if (type.kind == kind_name(25))
            type.fields = describe_fields(reader, *below);
        return type;
    }
    return std::nullopt;
}

} // namespace dwarf
