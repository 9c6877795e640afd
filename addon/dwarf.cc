#include "dwarf.h"

#include <algorithm>
#include <iterator>

namespace dwarf {

// DWARF 5, section 7.5.6.
enum Form : uint16_t {
    FORM_ADDR = 0x01,
    FORM_BLOCK2 = 0x03,
    FORM_BLOCK4 = 0x04,
    FORM_DATA2 = 0x05,
    FORM_DATA4 = 0x06,
    FORM_DATA8 = 0x07,
    FORM_STRING = 0x08,
    FORM_BLOCK = 0x09,
    FORM_BLOCK1 = 0x0a,
    FORM_DATA1 = 0x0b,
    FORM_FLAG = 0x0c,
    FORM_SDATA = 0x0d,
    FORM_STRP = 0x0e,
    FORM_UDATA = 0x0f,
    FORM_REF_ADDR = 0x10,
    FORM_REF1 = 0x11,
    FORM_REF2 = 0x12,
    FORM_REF4 = 0x13,
    FORM_REF8 = 0x14,
    FORM_REF_UDATA = 0x15,
    FORM_INDIRECT = 0x16,
    FORM_SEC_OFFSET = 0x17,
    FORM_EXPRLOC = 0x18,
    FORM_FLAG_PRESENT = 0x19,
    FORM_STRX = 0x1a,
    FORM_ADDRX = 0x1b,
    FORM_REF_SUP4 = 0x1c,
    FORM_STRP_SUP = 0x1d,
    FORM_DATA16 = 0x1e,
    FORM_LINE_STRP = 0x1f,
    FORM_REF_SIG8 = 0x20,
    FORM_IMPLICIT_CONST = 0x21,
    FORM_LOCLISTX = 0x22,
    FORM_RNGLISTX = 0x23,
    FORM_REF_SUP8 = 0x24,
    FORM_STRX1 = 0x25,
    FORM_STRX2 = 0x26,
    FORM_STRX3 = 0x27,
    FORM_STRX4 = 0x28,
    FORM_ADDRX1 = 0x29,
    FORM_ADDRX2 = 0x2a,
    FORM_ADDRX3 = 0x2b,
    FORM_ADDRX4 = 0x2c,
    FORM_GNU_ADDR_INDEX = 0x1f01,
    FORM_GNU_STR_INDEX = 0x1f02,
    FORM_GNU_REF_ALT = 0x1f20,
    FORM_GNU_STRP_ALT = 0x1f21,
};

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

std::string_view Reader::text_at(Part from, uint64_t offset) const {
    const Bytes &strings = part(from);
    return strings.empty() ? std::string_view() : Cursor(strings, offset).text();
}

std::string_view Reader::indexed_text(const Unit &unit, uint64_t index) const {
    if (!unit.string_offsets_base)
        return {};
    const Bytes &offsets = part(Part::STR_OFFSETS);
    if (index >= offsets.size())
        malformed("a DWARF name lies outside the names");
    Cursor cursor(offsets, *unit.string_offsets_base + index * unit.offset_size);
    return text_at(Part::STR, cursor.unsigned_of(unit.offset_size));
}

std::optional<uint64_t> Reader::address_at(const Unit &unit, uint64_t index) const {
    if (!unit.address_base)
        return std::nullopt;
    const Bytes &addresses = part(Part::ADDR);
    if (index >= addresses.size())
        malformed("a DWARF address lies outside the addresses");
    return Cursor(addresses, *unit.address_base + index * 8).u64();
}

void Reader::read_form(const Unit &unit, Cursor &cursor, uint16_t form, int64_t constant,
                       Attribute &attribute) const {
    auto set = [&](Class kind, uint64_t number) {
        attribute.kind = kind;
        attribute.number = number;
    };
    auto set_bytes = [&](Class kind, std::string_view bytes) {
        attribute.kind = kind;
        attribute.bytes = bytes;
    };
    auto set_block = [&](uint64_t size) {
        const uint8_t *start = cursor.take(size);
        set_bytes(Class::BLOCK, {reinterpret_cast<const char *>(start), size});
    };
    auto set_address = [&](uint64_t index) {
        std::optional<uint64_t> address = address_at(unit, index);
        set(address ? Class::ADDRESS : Class::OTHER, address.value_or(0));
    };
    switch (form) {
    case FORM_ADDR:
        return set(Class::ADDRESS, cursor.u64());
    case FORM_ADDRX:
        return set_address(cursor.uleb128());
    case FORM_ADDRX1:
    case FORM_ADDRX2:
    case FORM_ADDRX3:
    case FORM_ADDRX4:
        return set_address(cursor.unsigned_of(form - FORM_ADDRX1 + 1));
    case FORM_FLAG:
    case FORM_DATA1:
        return set(Class::CONSTANT, cursor.u8());
    case FORM_DATA2:
        return set(Class::CONSTANT, cursor.u16());
    case FORM_DATA4:
    case FORM_DATA8: {
        // Up to DWARF 3 these are offsets into other sections too.
        bool is_offset =
            unit.version < 4 && (attribute.name == AT_LOCATION || attribute.name == AT_STMT_LIST ||
                                 attribute.name == AT_RANGES);
        uint64_t number = form == FORM_DATA4 ? cursor.u32() : cursor.u64();
        return set(is_offset ? Class::OFFSET : Class::CONSTANT, number);
    }
    case FORM_DATA16:
        return set_block(16);
    case FORM_SDATA:
        return set(Class::CONSTANT, static_cast<uint64_t>(cursor.sleb128()));
    case FORM_UDATA:
        return set(Class::CONSTANT, cursor.uleb128());
    case FORM_IMPLICIT_CONST:
        return set(Class::CONSTANT, static_cast<uint64_t>(constant));
    case FORM_FLAG_PRESENT:
        return set(Class::CONSTANT, 1);
    case FORM_STRING:
        return set_bytes(Class::TEXT, cursor.text());
    case FORM_STRP:
        return set_bytes(Class::TEXT, text_at(Part::STR, cursor.unsigned_of(unit.offset_size)));
    case FORM_LINE_STRP:
        return set_bytes(Class::TEXT,
                         text_at(Part::LINE_STR, cursor.unsigned_of(unit.offset_size)));
    case FORM_STRX:
        return set_bytes(Class::TEXT, indexed_text(unit, cursor.uleb128()));
    case FORM_STRX1:
    case FORM_STRX2:
    case FORM_STRX3:
    case FORM_STRX4:
        return set_bytes(Class::TEXT,
                         indexed_text(unit, cursor.unsigned_of(form - FORM_STRX1 + 1)));
    case FORM_BLOCK1:
        return set_block(cursor.u8());
    case FORM_BLOCK2:
        return set_block(cursor.u16());
    case FORM_BLOCK4:
        return set_block(cursor.u32());
    case FORM_BLOCK:
    case FORM_EXPRLOC:
        return set_block(cursor.uleb128());
    case FORM_REF1:
        return set(Class::REFERENCE, unit.offset + cursor.u8());
    case FORM_REF2:
        return set(Class::REFERENCE, unit.offset + cursor.u16());
    case FORM_REF4:
        return set(Class::REFERENCE, unit.offset + cursor.u32());
    case FORM_REF8:
        return set(Class::REFERENCE, unit.offset + cursor.u64());
    case FORM_REF_UDATA:
        return set(Class::REFERENCE, unit.offset + cursor.uleb128());
    case FORM_REF_ADDR: // as wide as an address in DWARF 2
        return set(Class::REFERENCE,
                   cursor.unsigned_of(unit.version == 2 ? unit.address_size : unit.offset_size));
    case FORM_SEC_OFFSET:
        return set(Class::OFFSET, cursor.unsigned_of(unit.offset_size));
    case FORM_LOCLISTX:
        return set(Class::LOCATIONS_INDEX, cursor.uleb128());
    case FORM_RNGLISTX:
        return set(Class::RANGES_INDEX, cursor.uleb128());
    case FORM_REF_SIG8: {
        // Those of DWARF 4 are in a section of their own, and not followed.
        auto known = signatures_.find(cursor.u64());
        return known == signatures_.end() ? set(Class::OTHER, 0)
                                          : set(Class::REFERENCE, known->second);
    }
    // In another file: not followed.
    case FORM_REF_SUP8:
        return set(Class::OTHER, cursor.u64());
    case FORM_GNU_ADDR_INDEX:
    case FORM_GNU_STR_INDEX:
        return set(Class::OTHER, cursor.uleb128());
    case FORM_REF_SUP4:
        return set(Class::OTHER, cursor.u32());
    case FORM_STRP_SUP:
    case FORM_GNU_REF_ALT:
    case FORM_GNU_STRP_ALT:
        return set(Class::OTHER, cursor.unsigned_of(unit.offset_size));
    case FORM_INDIRECT: {
        uint64_t inner = cursor.uleb128();
        if (inner == FORM_INDIRECT || inner == FORM_IMPLICIT_CONST || inner > UINT16_MAX)
            malformed("a DWARF form is damaged");
        return read_form(unit, cursor, static_cast<uint16_t>(inner), 0, attribute);
    }
    default:
        malformed("a DWARF form is unknown");
    }
}

Attribute Reader::form(const Unit &unit, Cursor &cursor, uint64_t form) const {
    if (form > UINT16_MAX || form == FORM_IMPLICIT_CONST)
        malformed("a DWARF form is damaged");
    Attribute attribute = {};
    read_form(unit, cursor, static_cast<uint16_t>(form), 0, attribute);
    return attribute;
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
