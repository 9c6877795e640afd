#include "native_abi.h"

#include <algorithm>
#include <array>

namespace native {

static constexpr uint64_t WORD = 8;
static constexpr uint32_t FLOAT_ARGUMENTS = 8;
static constexpr unsigned DEEPEST = 32;
static constexpr unsigned MOST_STEPS = 4096;

namespace {

enum class Word : uint8_t { NONE, SSE, INTEGER };

// The classes of a value of up to two words.
class Classes {
  public:
    explicit Classes(TypeReader &types) : types_(types) {}

    // False: its type is not known, or too large to look at.
    bool add(uint64_t type, uint64_t offset, unsigned depth = 0);

    std::array<Word, 2> words = {Word::NONE, Word::NONE};
    bool in_memory = false;
    bool has_x87 = false;
    bool is_wide = false; // aligned to 16 bytes

  private:
    bool add_scalar(const Type &type, uint64_t offset);
    void mark(uint64_t offset, Word word) {
        Word &is = words[offset / WORD];
        is = std::max(is, word);
    }

    TypeReader &types_;
    unsigned steps_ = 0;
};

bool Classes::add_scalar(const Type &type, uint64_t offset) {
    bool is_float = type.kind == Kind::FLOAT || type.kind == Kind::COMPLEX;
    uint64_t part = type.kind == Kind::COMPLEX ? type.size / 2 : type.size;
    if (part == 0 || part > 2 * WORD || offset > 2 * WORD || type.size > 4 * WORD)
        return false;
    if (part > WORD && is_float) {
        // An 80-bit number; of other wide ones it is not known here where they go.
        has_x87 = is_wide = true;
        return type.name.find("long double") != std::string::npos;
    }
    is_wide = is_wide || part > WORD;
    if (offset % std::min(part, 2 * WORD) != 0)
        in_memory = true;
    for (uint64_t at = offset; at < offset + type.size; at += std::min(part, WORD)) {
        if (at >= 2 * WORD) {
            in_memory = true;
            break;
        }
        mark(at, is_float ? Word::SSE : Word::INTEGER);
    }
    return true;
}

bool Classes::add(uint64_t id, uint64_t offset, unsigned depth) {
    if (depth > DEEPEST || ++steps_ > MOST_STEPS)
        return false;
    const Type &type = types_.type(id);
    switch (type.kind) {
    case Kind::UNKNOWN:
    case Kind::VOID:
        return false;
    case Kind::ARRAY: {
        if (type.is_vector || !type.count)
            return false;
        uint64_t size = types_.type(*type.element).size;
        if (size == 0)
            return true;
        for (uint64_t i = 0; i < *type.count && offset + i * size < 2 * WORD; i++)
            if (!add(*type.element, offset + i * size, depth + 1))
                return false;
        return true;
    }
    case Kind::STRUCT:
    case Kind::UNION:
    case Kind::STRING:
    case Kind::SLICE:
        for (const Field &field : type.fields) {
            if (offset + field.offset >= 2 * WORD)
                continue;
            if (field.bit_size > 0) // a field of bits lies within the word of its storage
                mark(offset + field.offset, Word::INTEGER);
            else if (!add(field.type, offset + field.offset, depth + 1))
                return false;
        }
        return true;
    case Kind::VARIANT:
        return false;
    default:
        return add_scalar(type, offset);
    }
}

} // namespace

static bool has_bits(TypeReader &types, uint64_t id, unsigned depth) {
    const Type &type = types.type(id);
    if (depth > 8)
        return true;
    for (const Field &field : type.fields)
        if (field.bit_size > 0 || has_bits(types, field.type, depth + 1))
            return true;
    return false;
}

Passing system_v(TypeReader &types, uint64_t id) {
    const Type &type = types.type(id);
    Passing passing;
    passing.size = type.size;
    if (type.kind == Kind::VOID) {
        passing.how = Passing::NOTHING;
        return passing;
    }
    if (type.kind == Kind::UNKNOWN || (type.kind == Kind::ARRAY && type.is_vector))
        return passing;
    if (type.is_passed_by_address) {
        passing.how = Passing::ADDRESS;
        return passing;
    }
    Classes classes(types);
    if (!classes.add(id, 0)) {
        // Where a large value is aligned to is all that is not known of it then.
        return passing;
    }
    passing.alignment = std::max(WORD, std::max(classes.is_wide ? 2 * WORD : WORD, type.alignment));
    if (classes.has_x87 && type.kind == Kind::FLOAT) {
        passing.how = Passing::X87;
    } else if (type.size > 2 * WORD || classes.in_memory || classes.has_x87) {
        passing.how = Passing::STACK;
    } else if (has_bits(types, id, 0)) {
        // What fields of bits do to the classes of a word is more than DWARF says.
        passing.how = type.size <= WORD && classes.words[0] == Word::INTEGER ? Passing::REGISTERS
                                                                             : Passing::UNKNOWN;
        passing.parts = {{0, type.size, false}};
    } else {
        for (uint64_t i = 0; i < 2; i++)
            if (classes.words[i] != Word::NONE)
                passing.parts.push_back({i * WORD, std::min(WORD, type.size - i * WORD),
                                         classes.words[i] == Word::SSE});
        passing.how = passing.parts.empty() ? Passing::NOTHING : Passing::REGISTERS;
    }
    return passing;
}

namespace {

constexpr const char *NOT_KNOWN = "how a value of its type is passed is not known";

class Registers {
  public:
    Place argument(const Passing &passing);
    // The address of where the result goes comes before the arguments.
    void take_address() { integers_++; }

  private:
    Place on_stack(const Passing &passing);
    std::optional<Piece> next(const Part &part) {
        if (part.is_float)
            return floats_ < FLOAT_ARGUMENTS
                       ? std::optional(Piece{part.offset, part.size, FIRST_FLOAT + floats_++})
                       : std::nullopt;
        return integers_ < INTEGER_ARGUMENTS
                   ? std::optional(Piece{part.offset, part.size, integers_++})
                   : std::nullopt;
    }

    uint32_t integers_ = 0;
    uint32_t floats_ = 0;
    uint64_t stack_ = 0;
    bool is_sure_ = true;
};

Place Registers::on_stack(const Passing &passing) {
    uint64_t at = align_up(stack_, std::max(WORD, passing.alignment));
    Place place;
    place.stack_offset = at;
    stack_ = align_up(at + passing.size, WORD);
    return place;
}

Place Registers::argument(const Passing &passing) {
    if (passing.how == Passing::UNKNOWN)
        is_sure_ = false;
    if (!is_sure_)
        return Place::unknown(NOT_KNOWN);
    Place place;
    std::vector<Part> parts = passing.parts;
    switch (passing.how) {
    case Passing::NOTHING:
        return Place::empty();
    case Passing::STACK:
    case Passing::X87:
        return on_stack(passing);
    case Passing::ADDRESS: {
        std::optional<Piece> piece = next({0, WORD, false});
        if (piece)
            place.pieces = {*piece};
        else
            place = on_stack({Passing::STACK, {}, WORD, WORD});
        place.is_address = true;
        return place;
    }
    default:
        break;
    }
    uint32_t integers = integers_, floats = floats_;
    for (const Part &part : parts) {
        if (std::optional<Piece> piece = next(part)) {
            place.pieces.push_back(*piece);
        } else if (passing.how == Passing::RUST_PAIR) {
            place.problem = "it is passed in pieces that are apart";
            if (place.pieces.empty() && !place.stack_offset)
                place.stack_offset = stack_;
            stack_ += WORD;
        } else {
            integers_ = integers;
            floats_ = floats;
            return on_stack(passing);
        }
    }
    if (!place.problem)
        return place;
    // Two whole words on the stack lie there as they do in memory.
    bool is_whole = parts[0].size == WORD && parts[1].offset == WORD && parts[1].size == WORD;
    if (!is_whole || !place.pieces.empty())
        return Place::unknown(place.problem);
    place.problem = nullptr;
    return place;
}

} // namespace

static bool is_in_memory(const Passing &result) {
    return result.how == Passing::STACK || result.how == Passing::ADDRESS;
}

static Place place_of_result(const Passing &result) {
    Place place;
    switch (result.how) {
    case Passing::UNKNOWN:
        return Place::unknown(NOT_KNOWN);
    case Passing::NOTHING:
        return Place::empty();
    case Passing::X87:
        return Place::unknown("it is in a floating-point register, which cannot be read");
    case Passing::STACK:
    case Passing::ADDRESS:
        place.pieces = {{0, WORD, RAX}};
        place.is_address = true;
        return place;
    default:
        break;
    }
    uint32_t integers = 0, floats = 0;
    for (const Part &part : result.parts)
        place.pieces.push_back(
            {part.offset, part.size, part.is_float ? FIRST_FLOAT + floats++ : RAX + integers++});
    return place;
}

std::vector<Place> lay_out(const std::vector<Passing> &arguments, const Passing &result) {
    std::vector<Place> places;
    Registers registers;
    if (is_in_memory(result))
        registers.take_address();
    for (const Passing &argument : arguments)
        places.push_back(result.how == Passing::UNKNOWN ? Place::unknown(NOT_KNOWN)
                                                        : registers.argument(argument));
    places.push_back(place_of_result(result));
    return places;
}

} // namespace native
