#include "entry_location.h"

#include "dwarf_lists.h"

namespace dwarf {

// DWARF 5, section 7.7.1.
enum Operation : uint8_t {
    OP_CONST1U = 0x08,
    OP_CONSTS = 0x11,
    OP_LIT0 = 0x30,
    OP_LIT31 = 0x4f,
    OP_REG0 = 0x50,
    OP_REG31 = 0x6f,
    OP_BREG0 = 0x70,
    OP_BREG31 = 0x8f,
    OP_REGX = 0x90,
    OP_FBREG = 0x91,
    OP_PIECE = 0x93,
    OP_CALL_FRAME_CFA = 0x9c,
    OP_IMPLICIT_VALUE = 0x9e,
    OP_STACK_VALUE = 0x9f,
    OP_IMPLICIT_POINTER = 0xa0,
    OP_ENTRY_VALUE = 0xa3,
    OP_GNU_IMPLICIT_POINTER = 0xf2,
    OP_GNU_ENTRY_VALUE = 0xf3,
};

static constexpr size_t MOST_PIECES = 64;

static uint64_t read_constant(Cursor &expression, uint8_t operation) {
    switch (operation) {
    case 0x08: // const1u, const1s
    case 0x09:
        return expression.u8();
    case 0x0a:
    case 0x0b:
        return expression.u16();
    case 0x0c:
    case 0x0d:
        return expression.u32();
    case 0x0e:
    case 0x0f:
        return expression.u64();
    case 0x10:
        return expression.uleb128();
    default:
        return static_cast<uint64_t>(expression.sleb128());
    }
}

// The register whose value at the entry is meant; nothing if it is more than a register.
static std::optional<uint64_t> register_of(Cursor expression) {
    if (expression.left() == 0)
        return std::nullopt;
    uint8_t operation = expression.u8();
    std::optional<uint64_t> number;
    if (operation >= OP_REG0 && operation <= OP_REG31)
        number = operation - OP_REG0;
    else if (operation == OP_REGX)
        number = expression.uleb128();
    return expression.left() == 0 ? number : std::nullopt;
}

// One simple description, up to a piece's end; false: not followed.
static bool read_simple(Cursor &expression, uint8_t operation, bool frame_is_cfa, EntryPiece &piece,
                        bool &at_home) {
    if (operation >= OP_REG0 && operation <= OP_REG31) {
        piece = {EntryPiece::REGISTER, static_cast<uint64_t>(operation - OP_REG0), 0, 0};
    } else if (operation == OP_REGX) {
        piece = {EntryPiece::REGISTER, expression.uleb128(), 0, 0};
    } else if (operation >= OP_BREG0 && operation <= OP_BREG31) {
        if (expression.sleb128() != 0)
            return false;
        piece = {EntryPiece::MEMORY, static_cast<uint64_t>(operation - OP_BREG0), 0, 0};
    } else if (operation == OP_FBREG) {
        int64_t offset = expression.sleb128();
        if (frame_is_cfa && offset >= 0)
            piece = {EntryPiece::STACK, static_cast<uint64_t>(offset), 0, 0};
        else
            at_home = true;
    } else if (operation == OP_ENTRY_VALUE || operation == OP_GNU_ENTRY_VALUE) {
        uint64_t size = expression.uleb128();
        std::optional<uint64_t> number = register_of({expression.take(size), size});
        if (!number)
            return false;
        // Without DW_OP_stack_value after it, the register holds the address.
        piece = {EntryPiece::MEMORY, *number, 0, 0};
    } else if (operation >= OP_LIT0 && operation <= OP_LIT31) {
        piece = {EntryPiece::CONSTANT, static_cast<uint64_t>(operation - OP_LIT0), 0, 0};
    } else if (operation >= OP_CONST1U && operation <= OP_CONSTS) {
        piece = {EntryPiece::CONSTANT, read_constant(expression, operation), 0, 0};
    } else if (operation == OP_IMPLICIT_VALUE) {
        expression.skip(expression.uleb128());
        piece = {EntryPiece::CONSTANT, 0, 0, 0};
    } else {
        return false;
    }
    return true;
}

static EntryLocation located(Cursor expression, bool frame_is_cfa) {
    EntryLocation unclear = {EntryLocation::UNCLEAR, {}};
    EntryLocation location = {EntryLocation::PIECES, {}};
    EntryPiece piece;
    bool open = false, at_home = false;
    uint64_t offset = 0;
    while (expression.left() > 0) {
        uint8_t operation = expression.u8();
        if (operation == OP_PIECE) {
            piece.offset = offset;
            piece.size = expression.uleb128();
            offset += piece.size;
            if (location.pieces.size() >= MOST_PIECES || offset < piece.size)
                return unclear;
            location.pieces.push_back(piece);
            piece = {};
            open = false;
        } else if (operation == OP_STACK_VALUE && open) {
            if (piece.kind == EntryPiece::MEMORY)
                piece.kind = EntryPiece::REGISTER;
        } else if (open) {
            return unclear;
        } else {
            // A pointer to what is no longer in memory: nothing is left of it.
            if (operation == OP_IMPLICIT_POINTER || operation == OP_GNU_IMPLICIT_POINTER)
                return {EntryLocation::PIECES, {{EntryPiece::CONSTANT, 0, 0, 0}}};
            if (!read_simple(expression, operation, frame_is_cfa, piece, at_home))
                return unclear;
            open = true;
        }
    }
    if (open)
        location.pieces.push_back(piece);
    if (at_home)
        return {EntryLocation::HOME, {}};
    // An empty expression says that it was optimised away.
    return location.pieces.empty() ? EntryLocation() : location;
}

bool frame_base_is_cfa(const Entry &function) {
    const Attribute *base = function.find(AT_FRAME_BASE);
    return base && base->kind == Class::BLOCK && base->bytes.size() == 1 &&
           static_cast<uint8_t>(base->bytes[0]) == OP_CALL_FRAME_CFA;
}

EntryLocation entry_location(const Reader &reader, const Unit &unit, const Entry &parameter,
                             uint64_t address, bool frame_is_cfa) {
    if (parameter.find(AT_CONST_VALUE))
        return {EntryLocation::PIECES, {{EntryPiece::CONSTANT, 0, 0, 0}}};
    const Attribute *location = parameter.find(AT_LOCATION);
    if (!location)
        return {};
    std::optional<Cursor> expression = location_at_entry(reader, unit, *location, address);
    if (expression)
        return located(*expression, frame_is_cfa);
    EntryLocation first;
    if (std::optional<Cursor> later = first_location(reader, unit, *location))
        first.pieces = located(*later, frame_is_cfa).pieces;
    return first;
}

} // namespace dwarf
