#include "dwarf_forms.h"

#include "dwarf.h"

namespace dwarf {

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

} // namespace dwarf
