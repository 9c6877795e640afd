#include "dwarf.h"

#include <algorithm>
#include <iterator>

#include "dwarf_forms.h"

namespace dwarf {

enum UnitType : uint8_t {
    UNIT_COMPILE = 1,
    UNIT_TYPE = 2,
    UNIT_PARTIAL = 3,
    UNIT_SKELETON = 4,
    UNIT_SPLIT_COMPILE = 5,
    UNIT_SPLIT_TYPE = 6,
};

static constexpr uint64_t LANGUAGE_GO = 0x16;
static constexpr unsigned MOST_LINKS = 8;
// Attributes may take no room in an entry, so their number bounds the work an entry makes.
static constexpr size_t MOST_ATTRIBUTES = 256;

const Attribute *Entry::find(uint16_t name) const {
    for (const Attribute &attribute : attributes)
        if (attribute.name == name)
            return &attribute;
    return nullptr;
}

std::optional<uint64_t> Entry::number(uint16_t name, Class kind) const {
    const Attribute *attribute = find(name);
    return attribute && attribute->kind == kind ? std::optional(attribute->number) : std::nullopt;
}

std::string_view Entry::text(uint16_t name) const {
    const Attribute *attribute = find(name);
    return attribute && attribute->kind == Class::TEXT ? attribute->bytes : std::string_view();
}

bool Entry::flag(uint16_t name) const {
    const Attribute *attribute = find(name);
    return attribute && attribute->number != 0;
}

Reader::Reader(const ElfFile &elf) : elf_(elf) { read_units(); }

const Bytes &Reader::part(Part part) const {
    static constexpr const char *NAMES[] = {"info",        "abbrev", "str",     "line_str",
                                            "str_offsets", "addr",   "line",    "ranges",
                                            "rnglists",    "loc",    "loclists"};
    static_assert(std::size(NAMES) == static_cast<size_t>(Part::COUNT));
    size_t index = static_cast<size_t>(part);
    if (!parts_[index])
        parts_[index] = elf_.debug_section(NAMES[index]);
    return *parts_[index];
}

void Reader::read_units() {
    Cursor cursor(part(Part::INFO));
    while (cursor.left() > 0) {
        Unit unit;
        unit.offset = cursor.at();
        uint64_t length = cursor.u32();
        if (length == 0xffffffff) {
            length = cursor.u64();
            unit.offset_size = 8;
        }
        if (length > cursor.left())
            malformed("a DWARF unit is cut off");
        unit.end = cursor.at() + length;
        unit.version = cursor.u16();
        uint8_t type = UNIT_COMPILE;
        if (unit.version >= 5) {
            type = cursor.u8();
            unit.address_size = cursor.u8();
            unit.abbreviations = cursor.unsigned_of(unit.offset_size);
            if (type == UNIT_SKELETON || type == UNIT_SPLIT_COMPILE)
                cursor.skip(8);
            else if (type == UNIT_TYPE || type == UNIT_SPLIT_TYPE) {
                uint64_t signature = cursor.u64();
                signatures_[signature] = unit.offset + cursor.unsigned_of(unit.offset_size);
            }
        } else {
            unit.abbreviations = cursor.unsigned_of(unit.offset_size);
            unit.address_size = cursor.u8();
        }
        unit.entries = cursor.at();
        if (unit.entries > unit.end)
            malformed("a DWARF unit is cut off");
        cursor.skip(unit.end - cursor.at());
        if (unit.version < 2 || unit.version > 5 || unit.address_size != 8)
            continue;
        read_unit_entry(unit);
        units_.push_back(unit);
    }
}

void Reader::read_unit_entry(Unit &unit) const {
    if (unit.entries == unit.end)
        return;
    Entry entry;
    // The bases first: other attributes of the same entry may need them.
    read(unit, unit.entries, entry);
    unit.string_offsets_base = entry.number(AT_STR_OFFSETS_BASE, Class::OFFSET);
    unit.address_base = entry.number(AT_ADDR_BASE, Class::OFFSET);
    unit.ranges_base = entry.number(AT_RNGLISTS_BASE, Class::OFFSET);
    unit.locations_base = entry.number(AT_LOCLISTS_BASE, Class::OFFSET);
    read(unit, unit.entries, entry);
    unit.low_pc = entry.number(AT_LOW_PC, Class::ADDRESS).value_or(0);
    unit.language = entry.number(AT_LANGUAGE, Class::CONSTANT).value_or(0);
    unit.is_go = unit.language == LANGUAGE_GO;
    // "Go cmd/compile go1.26.8; regabi"
    unit.go_registers =
        unit.is_go && entry.text(AT_PRODUCER).find("regabi") != std::string_view::npos;
}

const Unit *Reader::unit_of(uint64_t entry_offset) const {
    auto after =
        std::upper_bound(units_.begin(), units_.end(), entry_offset,
                         [](uint64_t offset, const Unit &unit) { return offset < unit.offset; });
    if (after == units_.begin())
        return nullptr;
    const Unit &unit = *(after - 1);
    return entry_offset >= unit.entries && entry_offset < unit.end ? &unit : nullptr;
}

const Reader::Abbreviation *Reader::Abbreviations::find(uint64_t code) const {
    if (code - 1 < by_code.size() && by_code[code - 1].code == code)
        return &by_code[code - 1];
    auto found = std::lower_bound(by_code.begin(), by_code.end(), code,
                                  [](const Abbreviation &abbreviation, uint64_t wanted) {
                                      return abbreviation.code < wanted;
                                  });
    return found != by_code.end() && found->code == code ? &*found : nullptr;
}

const Reader::Abbreviations &Reader::abbreviations(uint64_t offset) const {
    if (last_ && last_offset_ == offset)
        return *last_;
    last_ = nullptr;
    last_offset_ = offset;
    auto known = abbreviations_.find(offset);
    if (known != abbreviations_.end())
        return *(last_ = &known->second);
    Abbreviations table;
    Cursor cursor(part(Part::ABBREV), offset);
    while (uint64_t code = cursor.uleb128()) {
        Abbreviation abbreviation;
        abbreviation.code = code;
        abbreviation.tag = static_cast<uint16_t>(cursor.uleb128());
        abbreviation.has_children = cursor.u8() != 0;
        abbreviation.first = static_cast<uint32_t>(table.attributes.size());
        for (;;) {
            uint64_t name = cursor.uleb128();
            uint64_t form = cursor.uleb128();
            int64_t constant = form == FORM_IMPLICIT_CONST ? cursor.sleb128() : 0;
            if (name == 0 && form == 0)
                break;
            if (form > UINT16_MAX || name > UINT16_MAX ||
                table.attributes.size() - abbreviation.first >= MOST_ATTRIBUTES)
                malformed("a DWARF abbreviation is damaged");
            table.attributes.push_back(
                {static_cast<uint16_t>(name), static_cast<uint16_t>(form), constant});
        }
        abbreviation.count = static_cast<uint32_t>(table.attributes.size()) - abbreviation.first;
        table.by_code.push_back(abbreviation);
    }
    std::stable_sort(table.by_code.begin(), table.by_code.end(),
                     [](const auto &a, const auto &b) { return a.code < b.code; });
    return *(last_ = &abbreviations_.emplace(offset, std::move(table)).first->second);
}

// Null where a list of children ends.
const Reader::Abbreviation *Reader::abbreviation_at(const Unit &unit, Cursor &cursor) const {
    uint64_t code = cursor.uleb128();
    if (code == 0)
        return nullptr;
    const Abbreviation *abbreviation = abbreviations(unit.abbreviations).find(code);
    if (!abbreviation)
        malformed("a DWARF entry has an unknown abbreviation");
    return abbreviation;
}

void Reader::read(const Unit &unit, uint64_t offset, Entry &entry) const {
    if (offset < unit.entries || offset >= unit.end)
        malformed("a DWARF entry lies outside its unit");
    Cursor cursor(part(Part::INFO).data(), unit.end, offset);
    entry.offset = offset;
    entry.attributes.clear();
    if (const Abbreviation *abbreviation = abbreviation_at(unit, cursor)) {
        read_attributes(unit, *abbreviation, cursor, entry);
    } else {
        entry.tag = 0;
        entry.has_children = false;
    }
    entry.next = cursor.at();
}

void Reader::read_attributes(const Unit &unit, const Abbreviation &abbreviation, Cursor &cursor,
                             Entry &entry) const {
    const std::vector<Specification> &attributes = abbreviations(unit.abbreviations).attributes;
    entry.tag = abbreviation.tag;
    entry.has_children = abbreviation.has_children;
    for (uint32_t i = 0; i < abbreviation.count; i++) {
        const Specification &specification = attributes[abbreviation.first + i];
        Attribute &attribute = entry.attributes.emplace_back();
        attribute.name = specification.name;
        read_form(unit, cursor, specification.form, specification.constant, attribute);
    }
}

void Reader::skip_attributes(const Unit &unit, const Abbreviation &abbreviation,
                             Cursor &cursor) const {
    const std::vector<Specification> &attributes = abbreviations(unit.abbreviations).attributes;
    Attribute ignored;
    for (uint32_t i = 0; i < abbreviation.count; i++) {
        const Specification &specification = attributes[abbreviation.first + i];
        switch (specification.form) {
        case FORM_STRP:
        case FORM_LINE_STRP:
        case FORM_SEC_OFFSET:
            cursor.skip(unit.offset_size);
            break;
        case FORM_STRX:
        case FORM_ADDRX:
            cursor.uleb128();
            break;
        default:
            read_form(unit, cursor, specification.form, specification.constant, ignored);
        }
    }
}

void Reader::walk(const Unit &unit, const Visit &visit) const {
    walk(
        unit, [](uint16_t, unsigned) { return true; }, visit);
}

void Reader::walk(const Unit &unit, Wanted wanted, const Visit &visit) const {
    if (unit.entries >= unit.end)
        return;
    Cursor cursor(part(Part::INFO).data(), unit.end, unit.entries);
    Entry entry;
    unsigned depth = 0;
    while (cursor.left() > 0) {
        uint64_t offset = cursor.at();
        const Abbreviation *abbreviation = abbreviation_at(unit, cursor);
        if (!abbreviation) {
            if (depth-- <= 1)
                return;
            continue;
        }
        if (wanted(abbreviation->tag, depth)) {
            entry.offset = offset;
            entry.attributes.clear();
            read_attributes(unit, *abbreviation, cursor, entry);
            entry.next = cursor.at();
            if (!visit(entry, depth))
                return;
        } else {
            skip_attributes(unit, *abbreviation, cursor);
        }
        if (abbreviation->has_children)
            depth++;
        else if (depth == 0)
            return;
    }
}

void Reader::children(uint64_t offset, const std::function<bool(const Entry &)> &visit) const {
    const Unit *unit = unit_of(offset);
    if (!unit)
        return;
    Entry entry;
    read(*unit, offset, entry);
    if (!entry.has_children)
        return;
    unsigned depth = 1;
    for (uint64_t at = entry.next; depth > 0 && at < unit->end; at = entry.next) {
        read(*unit, at, entry);
        if (entry.tag == 0) {
            depth--;
            continue;
        }
        if (depth == 1 && !visit(entry))
            return;
        if (entry.has_children)
            depth++;
    }
}

std::string_view Reader::name_of(const Entry &entry) const {
    const Entry *current = &entry;
    Entry linked;
    std::string_view name;
    for (unsigned i = 0; i < MOST_LINKS; i++) {
        for (uint16_t attribute : {AT_LINKAGE_NAME, AT_MIPS_LINKAGE_NAME})
            if (std::string_view linker_name = current->text(attribute); !linker_name.empty())
                return linker_name;
        if (name.empty())
            name = current->text(AT_NAME);
        std::optional<uint64_t> link = current->number(AT_ABSTRACT_ORIGIN, Class::REFERENCE);
        if (!link)
            link = current->number(AT_SPECIFICATION, Class::REFERENCE);
        const Unit *unit = link ? unit_of(*link) : nullptr;
        if (!unit)
            break;
        read(*unit, *link, linked);
        current = &linked;
    }
    return name;
}

} // namespace dwarf
