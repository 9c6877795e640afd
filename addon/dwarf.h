// DWARF 2 to 5 of one file: units and their entries, read straight through and never by the
// sibling links, so that damaged files end the walk instead of turning it in circles.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "elf.h"

namespace dwarf {

enum Tag : uint16_t {
    TAG_ARRAY = 0x01,
    TAG_CLASS = 0x02,
    TAG_ENUMERATION = 0x04,
    TAG_FORMAL_PARAMETER = 0x05,
    TAG_MEMBER = 0x0d,
    TAG_POINTER = 0x0f,
    TAG_REFERENCE = 0x10,
    TAG_COMPILE_UNIT = 0x11,
    TAG_STRUCTURE = 0x13,
    TAG_SUBROUTINE_TYPE = 0x15,
    TAG_TYPEDEF = 0x16,
    TAG_UNION = 0x17,
    TAG_VARIANT = 0x19,
    TAG_INHERITANCE = 0x1c,
    TAG_INLINED_SUBROUTINE = 0x1d,
    TAG_POINTER_TO_MEMBER = 0x1f,
    TAG_SUBRANGE = 0x21,
    TAG_BASE_TYPE = 0x24,
    TAG_CONST = 0x26,
    TAG_ENUMERATOR = 0x28,
    TAG_SUBPROGRAM = 0x2e,
    TAG_TEMPLATE_TYPE = 0x2f,
    TAG_VARIANT_PART = 0x33,
    TAG_VOLATILE = 0x35,
    TAG_RESTRICT = 0x37,
    TAG_NAMESPACE = 0x39,
    TAG_UNSPECIFIED_TYPE = 0x3b,
    TAG_PARTIAL_UNIT = 0x3c,
    TAG_RVALUE_REFERENCE = 0x42,
    TAG_ATOMIC = 0x47,
    TAG_SKELETON_UNIT = 0x4a,
};

enum Name : uint16_t {
    AT_LOCATION = 0x02,
    AT_NAME = 0x03,
    AT_BYTE_SIZE = 0x0b,
    AT_BIT_OFFSET = 0x0c,
    AT_BIT_SIZE = 0x0d,
    AT_STMT_LIST = 0x10,
    AT_LOW_PC = 0x11,
    AT_HIGH_PC = 0x12,
    AT_LANGUAGE = 0x13,
    AT_DISCR = 0x15,
    AT_DISCR_VALUE = 0x16,
    AT_COMP_DIR = 0x1b,
    AT_CONST_VALUE = 0x1c,
    AT_PRODUCER = 0x25,
    AT_UPPER_BOUND = 0x2f,
    AT_ABSTRACT_ORIGIN = 0x31,
    AT_ARTIFICIAL = 0x34,
    AT_CALLING_CONVENTION = 0x36,
    AT_COUNT = 0x37,
    AT_DATA_MEMBER_LOCATION = 0x38,
    AT_DECLARATION = 0x3c,
    AT_DISCR_LIST = 0x3d,
    AT_ENCODING = 0x3e,
    AT_EXTERNAL = 0x3f,
    AT_FRAME_BASE = 0x40,
    AT_SPECIFICATION = 0x47,
    AT_TYPE = 0x49,
    AT_VARIABLE_PARAMETER = 0x4b,
    AT_VIRTUALITY = 0x4c,
    AT_RANGES = 0x55,
    AT_SIGNATURE = 0x69,
    AT_DATA_BIT_OFFSET = 0x6b,
    AT_LINKAGE_NAME = 0x6e,
    AT_STR_OFFSETS_BASE = 0x72,
    AT_ADDR_BASE = 0x73,
    AT_RNGLISTS_BASE = 0x74,
    AT_ALIGNMENT = 0x88,
    AT_DEFAULTED = 0x8b,
    AT_LOCLISTS_BASE = 0x8c,
    AT_GNU_VECTOR = 0x2107,
    AT_MIPS_LINKAGE_NAME = 0x2007,
    AT_GO_KIND = 0x2900,
    AT_GO_KEY = 0x2901,
    AT_GO_ELEMENT = 0x2902,
    AT_GO_EMBEDDED = 0x2903,
    AT_GO_RUNTIME_TYPE = 0x2904,
};

// What a form's content means; references are offsets in .debug_info.
enum class Class : uint8_t {
    OTHER,
    ADDRESS,
    CONSTANT,
    REFERENCE,
    TEXT,
    BLOCK,
    OFFSET,       // into another section
    RANGES_INDEX, // DWARF 5, by the unit's base
    LOCATIONS_INDEX,
};

struct Attribute {
    uint16_t name;
    Class kind;
    uint64_t number;
    std::string_view bytes; // TEXT and BLOCK
};

struct Unit {
    uint64_t offset = 0;  // of its header, in .debug_info
    uint64_t entries = 0; // of its first entry
    uint64_t end = 0;
    uint64_t abbreviations = 0; // in .debug_abbrev
    uint16_t version = 0;
    uint8_t address_size = 8;
    uint8_t offset_size = 4;
    uint64_t language = 0; // DW_LANG_*
    bool is_go = false;
    bool go_registers = false; // Go's register ABI
    uint64_t low_pc = 0;
    std::optional<uint64_t> string_offsets_base, address_base, ranges_base, locations_base;
};

struct Entry {
    uint64_t offset = 0;
    uint64_t next = 0; // of the entry that follows in the section
    uint16_t tag = 0;  // 0: the end of a list of children
    bool has_children = false;
    std::vector<Attribute> attributes;

    const Attribute *find(uint16_t name) const;
    std::optional<uint64_t> number(uint16_t name, Class kind) const;
    std::string_view text(uint16_t name) const;
    // Present, and not zero.
    bool flag(uint16_t name) const;
};

enum class Part : uint8_t {
    INFO,
    ABBREV,
    STR,
    LINE_STR,
    STR_OFFSETS,
    ADDR,
    LINE,
    RANGES,
    RNGLISTS,
    LOC,
    LOCLISTS,
    COUNT,
};

class Reader {
  public:
    explicit Reader(const ElfFile &elf);

    const std::vector<Unit> &units() const { return units_; }
    const Unit *unit_of(uint64_t entry_offset) const;
    // Loaded when first asked for; empty if the file has none.
    const Bytes &part(Part part) const;

    // The entry at an offset within the unit, over what `entry` held before.
    void read(const Unit &unit, uint64_t offset, Entry &entry) const;
    // All entries of a unit in order; `depth` is 0 for the unit's own. Stops at false.
    using Visit = std::function<bool(const Entry &entry, unsigned depth)>;
    void walk(const Unit &unit, const Visit &visit) const;
    // Those alone that are wanted: what others say is passed over, which most of a file is.
    using Wanted = bool (*)(uint16_t tag, unsigned depth);
    void walk(const Unit &unit, Wanted wanted, const Visit &visit) const;
    // Entries directly beneath the one at `offset`.
    void children(uint64_t offset, const std::function<bool(const Entry &child)> &visit) const;

    // One value of a form, outside of an entry.
    Attribute form(const Unit &unit, Cursor &cursor, uint64_t form) const;
    std::optional<uint64_t> address_at(const Unit &unit, uint64_t index) const;
    // Follows DW_AT_abstract_origin and DW_AT_specification; the linker's name if there is one.
    std::string_view name_of(const Entry &entry) const;

  private:
    struct Specification {
        uint16_t name;
        uint16_t form;
        int64_t constant;
    };
    struct Abbreviation {
        uint64_t code = 0;
        uint16_t tag = 0;
        bool has_children = false;
        uint32_t first = 0; // of its attributes
        uint32_t count = 0;
    };
    struct Abbreviations {
        std::vector<Abbreviation> by_code; // sorted; most often dense from 1
        std::vector<Specification> attributes;

        const Abbreviation *find(uint64_t code) const;
    };

    void read_units();
    void read_unit_entry(Unit &unit) const;
    const Abbreviations &abbreviations(uint64_t offset) const;
    const Abbreviation *abbreviation_at(const Unit &unit, Cursor &cursor) const;
    void read_attributes(const Unit &unit, const Abbreviation &abbreviation, Cursor &cursor,
                         Entry &entry) const;
    void skip_attributes(const Unit &unit, const Abbreviation &abbreviation, Cursor &cursor) const;
    void read_form(const Unit &unit, Cursor &cursor, uint16_t form, int64_t constant,
                   Attribute &attribute) const;
    std::string_view text_at(Part strings, uint64_t offset) const;
    std::string_view indexed_text(const Unit &unit, uint64_t index) const;

    const ElfFile &elf_;
    std::vector<Unit> units_;
    std::unordered_map<uint64_t, uint64_t> signatures_; // of type units: where their type is
    mutable std::array<std::optional<Bytes>, static_cast<size_t>(Part::COUNT)> parts_;
    mutable std::unordered_map<uint64_t, Abbreviations> abbreviations_;
    // Most often the same as for the entry before.
    mutable uint64_t last_offset_ = 0;
    mutable const Abbreviations *last_ = nullptr;
};

} // namespace dwarf
