#include "dwarf_lists.h"

namespace dwarf {

// DWARF 5, sections 7.25 and 7.29: the two kinds of lists share the first entries' codes.
enum ListEntry : uint8_t {
    END_OF_LIST = 0,
    BASE_ADDRESSX = 1,
    STARTX_ENDX = 2,
    STARTX_LENGTH = 3,
    OFFSET_PAIR = 4,
    // From here on they differ by one: locations have a default entry.
    DEFAULT_LOCATION = 5,
};

enum class Step : uint8_t { END, BASE, RANGE, DEFAULT };

static constexpr size_t MOST_RANGES = 1u << 20;

// The head of one entry of a list in .debug_rnglists or .debug_loclists.
static Step next_entry(const Reader &reader, const Unit &unit, Cursor &cursor, bool locations,
                       uint64_t &base, Range &range) {
    auto indexed = [&]() { return reader.address_at(unit, cursor.uleb128()).value_or(0); };
    uint8_t code = cursor.u8();
    if (locations && code == DEFAULT_LOCATION)
        return Step::DEFAULT;
    if (locations && code > DEFAULT_LOCATION)
        code--;
    switch (code) {
    case END_OF_LIST:
        return Step::END;
    case BASE_ADDRESSX:
        base = indexed();
        return Step::BASE;
    case STARTX_ENDX:
        range.start = indexed();
        range.end = indexed();
        return Step::RANGE;
    case STARTX_LENGTH:
        range.start = indexed();
        range.end = range.start + cursor.uleb128();
        return Step::RANGE;
    case OFFSET_PAIR:
        range.start = base + cursor.uleb128();
        range.end = base + cursor.uleb128();
        return Step::RANGE;
    case 5: // base_address
        base = cursor.u64();
        return Step::BASE;
    case 6: // start_end
        range.start = cursor.u64();
        range.end = cursor.u64();
        return Step::RANGE;
    case 7: // start_length
        range.start = cursor.u64();
        range.end = range.start + cursor.uleb128();
        return Step::RANGE;
    default:
        malformed("a DWARF list is damaged");
    }
}

// The head of one entry in .debug_ranges or .debug_loc.
static Step next_old_entry(Cursor &cursor, uint64_t &base, Range &range) {
    uint64_t start = cursor.u64();
    uint64_t end = cursor.u64();
    if (start == 0 && end == 0)
        return Step::END;
    if (start == UINT64_MAX) {
        base = end;
        return Step::BASE;
    }
    range = {base + start, base + end};
    return Step::RANGE;
}

// Where a list starts in its section; by index it is relative to the unit's table of offsets.
static std::optional<uint64_t> list_offset(const Unit &unit, const Attribute &attribute,
                                           Class index_kind, const Bytes &section,
                                           std::optional<uint64_t> base) {
    if (attribute.kind == Class::OFFSET)
        return attribute.number;
    if (attribute.kind != index_kind || !base || attribute.number >= section.size())
        return std::nullopt;
    Cursor cursor(section, *base + attribute.number * unit.offset_size);
    return *base + cursor.unsigned_of(unit.offset_size);
}

std::vector<Range> ranges_of(const Reader &reader, const Unit &unit, const Entry &entry) {
    std::vector<Range> ranges;
    const Attribute *list = entry.find(AT_RANGES);
    if (!list) {
        std::optional<uint64_t> start = entry.number(AT_LOW_PC, Class::ADDRESS);
        const Attribute *end = entry.find(AT_HIGH_PC);
        if (start && end)
            ranges.push_back(
                {*start, end->kind == Class::ADDRESS ? end->number : *start + end->number});
        return ranges;
    }
    bool is_new = unit.version >= 5;
    const Bytes &section = reader.part(is_new ? Part::RNGLISTS : Part::RANGES);
    std::optional<uint64_t> offset =
        list_offset(unit, *list, Class::RANGES_INDEX, section, unit.ranges_base);
    if (!offset)
        return ranges;
    Cursor cursor(section, *offset);
    uint64_t base = unit.low_pc;
    Range range;
    for (;;) {
        Step step = is_new ? next_entry(reader, unit, cursor, false, base, range)
                           : next_old_entry(cursor, base, range);
        if (step == Step::END)
            return ranges;
        if (step != Step::RANGE)
            continue;
        if (ranges.size() >= MOST_RANGES)
            malformed("a DWARF list is too long");
        ranges.push_back(range);
    }
}

// Section 7.7.1.
enum Operation : uint8_t {
    OP_REG0 = 0x50,
    OP_REG31 = 0x6f,
    OP_FBREG = 0x91,
    OP_REGX = 0x90,
    OP_PIECE = 0x93,
    OP_CALL_FRAME_CFA = 0x9c,
};

static std::optional<Pieces> registers_of(Cursor expression) {
    Pieces pieces;
    std::optional<uint64_t> current;
    bool any = false;
    bool open = false;
    while (expression.left() > 0) {
        uint8_t operation = expression.u8();
        if (operation >= OP_REG0 && operation <= OP_REG31) {
            current = operation - OP_REG0;
            any = open = true;
        } else if (operation == OP_REGX) {
            current = expression.uleb128();
            any = open = true;
        } else if (operation == OP_FBREG) {
            expression.sleb128();
            open = true;
        } else if (operation == OP_CALL_FRAME_CFA) {
            open = true;
        } else if (operation == OP_PIECE) {
            expression.uleb128();
            pieces.push_back(current);
            current.reset();
            open = false;
        } else {
            return std::nullopt;
        }
    }
    if (open)
        pieces.push_back(current);
    return any ? std::optional(pieces) : std::nullopt;
}

static Cursor cursor_over(std::string_view bytes) {
    return {reinterpret_cast<const uint8_t *>(bytes.data()), bytes.size()};
}

// The expression of the first range of a location list that is wanted.
template <typename Wanted>
static std::optional<Cursor> find_location(const Reader &reader, const Unit &unit,
                                           const Attribute &location, Wanted wanted) {
    bool is_new = unit.version >= 5;
    const Bytes &section = reader.part(is_new ? Part::LOCLISTS : Part::LOC);
    std::optional<uint64_t> offset =
        list_offset(unit, location, Class::LOCATIONS_INDEX, section, unit.locations_base);
    if (!offset)
        return std::nullopt;
    Cursor cursor(section, *offset);
    uint64_t base = unit.low_pc;
    Range range = {};
    for (;;) {
        Step step = is_new ? next_entry(reader, unit, cursor, true, base, range)
                           : next_old_entry(cursor, base, range);
        if (step == Step::END)
            return std::nullopt;
        if (step == Step::BASE)
            continue;
        uint64_t size = is_new ? cursor.uleb128() : cursor.u16();
        const uint8_t *expression = cursor.take(size);
        if (step == Step::RANGE && wanted(range))
            return Cursor(expression, size);
    }
}

std::optional<Cursor> location_at_entry(const Reader &reader, const Unit &unit,
                                        const Attribute &location, uint64_t address) {
    if (location.kind == Class::BLOCK)
        return cursor_over(location.bytes);
    return find_location(reader, unit, location, [&](const Range &range) {
        return range.start <= address && address < range.end;
    });
}

std::optional<Cursor> first_location(const Reader &reader, const Unit &unit,
                                     const Attribute &location) {
    return find_location(reader, unit, location, [](const Range &) { return true; });
}

std::optional<Pieces> registers_at_entry(const Reader &reader, const Unit &unit,
                                         const Entry &parameter, uint64_t address) {
    const Attribute *location = parameter.find(AT_LOCATION);
    if (!location)
        return std::nullopt;
    std::optional<Cursor> expression = location_at_entry(reader, unit, *location, address);
    return expression ? registers_of(*expression) : std::nullopt;
}

} // namespace dwarf
