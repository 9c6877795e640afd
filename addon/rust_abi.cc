// What rustc does for functions of its own: no ABI that is written down, but rustc_abi and
// rustc_ty_utils::abi in its sources.
#include <algorithm>

#include "native_abi.h"

namespace native {

static constexpr uint64_t WORD = 8;
static constexpr unsigned DEEPEST = 32;
static constexpr unsigned MOST_STEPS = 4096;

namespace {

// What rustc makes of a type: nothing, one scalar, two scalars, or a piece of memory.
struct Shape {
    enum Kind : uint8_t { UNKNOWN, EMPTY, SCALAR, PAIR, MEMORY } kind = UNKNOWN;
    std::vector<Part> parts;

    bool operator==(const Shape &other) const {
        return kind == other.kind &&
               std::equal(parts.begin(), parts.end(), other.parts.begin(), other.parts.end(),
                          [](const Part &a, const Part &b) {
                              return a.offset == b.offset && a.size == b.size &&
                                     a.is_float == b.is_float;
                          });
    }
};

class Shapes {
  public:
    explicit Shapes(TypeReader &types) : types_(types) {}

    Shape of(uint64_t type, unsigned depth = 0);

  private:
    Shape of_fields(const Type &type, uint64_t size, unsigned depth);
    Shape of_union(const Type &type, unsigned depth);
    Shape of_variants(const Type &type, unsigned depth);

    TypeReader &types_;
    unsigned steps_ = 0;
};

Shape Shapes::of(uint64_t id, unsigned depth) {
    if (depth > DEEPEST || ++steps_ > MOST_STEPS)
        return {};
    const Type &type = types_.type(id);
    switch (type.kind) {
    case Kind::UNKNOWN:
    case Kind::FUNCTION:
        return {};
    case Kind::VOID:
        return {Shape::EMPTY, {}};
    case Kind::COMPLEX:
        return {};
    case Kind::ARRAY:
        if (type.is_vector || !type.count)
            return {};
        return {type.size == 0 ? Shape::EMPTY : Shape::MEMORY, {}};
    case Kind::STRUCT:
    case Kind::STRING:
    case Kind::SLICE:
        return of_fields(type, type.size, depth);
    case Kind::UNION:
        return of_union(type, depth);
    case Kind::VARIANT:
        return of_variants(type, depth);
    default:
        if (type.size == 0)
            return {};
        return {Shape::SCALAR, {{0, type.size, type.kind == Kind::FLOAT}}};
    }
}

Shape Shapes::of_fields(const Type &type, uint64_t size, unsigned depth) {
    if (size == 0)
        return {Shape::EMPTY, {}};
    std::vector<Part> parts;
    unsigned filled = 0;
    bool all_scalar = true;
    for (const Field &field : type.fields) {
        Shape shape = of(field.type, depth + 1);
        if (shape.kind == Shape::UNKNOWN)
            return {};
        if (shape.kind == Shape::EMPTY)
            continue;
        filled++;
        all_scalar = all_scalar && shape.kind == Shape::SCALAR;
        if (shape.kind == Shape::MEMORY)
            return {Shape::MEMORY, {}};
        for (Part part : shape.parts) {
            part.offset += field.offset;
            parts.push_back(part);
        }
    }
    std::sort(parts.begin(), parts.end(),
              [](const Part &a, const Part &b) { return a.offset < b.offset; });
    if (filled == 1 && parts[0].offset == 0) {
        if (parts.size() == 1)
            return parts[0].size == size ? Shape{Shape::SCALAR, parts} : Shape{Shape::MEMORY, {}};
        return {Shape::PAIR, parts};
    }
    if (filled == 2 && all_scalar && parts[0].offset == 0 && parts[0].size > 0 &&
        parts[1].size > 0 && parts[1].offset == align_up(parts[0].size, parts[1].size))
        return {Shape::PAIR, parts};
    return {Shape::MEMORY, {}};
}

Shape Shapes::of_union(const Type &type, unsigned depth) {
    std::optional<Shape> common;
    for (const Field &field : type.fields) {
        Shape shape = of(field.type, depth + 1);
        if (shape.kind == Shape::EMPTY)
            continue;
        if (common && !(*common == shape))
            return {Shape::MEMORY, {}};
        common = shape;
    }
    return common.value_or(Shape{Shape::EMPTY, {}});
}

Shape Shapes::of_variants(const Type &type, unsigned depth) {
    if (!type.discriminant || !type.problem.empty())
        return {};
    const Type &tag = types_.type(type.discriminant->type);
    const Variant *filled_only = nullptr; // the only variant with content, if it holds the tag
    unsigned defaults = 0;
    std::optional<Part> common;
    bool is_pair = true;
    for (const Variant &variant : type.variants) {
        if (!variant.value) {
            filled_only = &variant;
            defaults++;
        }
        unsigned scalars = 0;
        for (const Field &field : types_.type(variant.type).fields) {
            Shape shape = of(field.type, depth + 1);
            if (shape.kind == Shape::UNKNOWN)
                return {};
            if (shape.kind == Shape::EMPTY)
                continue;
            if (shape.kind != Shape::SCALAR || scalars++ > 0) {
                is_pair = false;
                continue;
            }
            Part part = {field.offset, shape.parts[0].size, shape.parts[0].is_float};
            if (common && (common->offset != part.offset || common->size != part.size ||
                           common->is_float != part.is_float))
                is_pair = false;
            common = part;
        }
    }
    if (defaults == 1) {
        // The others are values that the one with content never has.
        for (const Variant &variant : type.variants)
            if (variant.value)
                for (const Field &field : types_.type(variant.type).fields)
                    if (of(field.type, depth + 1).kind != Shape::EMPTY)
                        return {Shape::MEMORY, {}};
        return of_fields(types_.type(filled_only->type), type.size, depth + 1);
    }
    if (defaults > 1 || type.discriminant->offset != 0)
        return {};
    Part first = {0, tag.size, false};
    if (is_pair && !common)
        return tag.size == type.size ? Shape{Shape::SCALAR, {first}} : Shape{};
    if (is_pair && common->offset == align_up(first.size, common->size))
        return {Shape::PAIR, {first, *common}};
    return {Shape::MEMORY, {}};
}

} // namespace

Passing rust(TypeReader &types, uint64_t id) {
    const Type &type = types.type(id);
    Passing passing;
    passing.size = type.size;
    Shape shape = Shapes(types).of(id);
    // What is larger than a word and no scalar, or pair of them, stays in the caller's memory;
    // what is not goes into a register as it is, floating-point numbers in it too.
    if (shape.kind == Shape::UNKNOWN)
        passing.how = type.size > 2 * WORD && type.kind != Kind::UNKNOWN ? Passing::ADDRESS
                                                                         : Passing::UNKNOWN;
    else if (shape.kind == Shape::EMPTY)
        passing.how = Passing::NOTHING;
    else if (shape.kind == Shape::MEMORY && type.size > WORD)
        passing.how = Passing::ADDRESS;
    else if (shape.kind == Shape::MEMORY) {
        passing.how = Passing::REGISTERS;
        passing.parts = {{0, type.size, false}};
    } else if (shape.kind == Shape::SCALAR) {
        const Part &part = shape.parts[0];
        if (part.size <= WORD || !part.is_float)
            passing.how = Passing::REGISTERS;
        for (uint64_t at = 0; at < part.size; at += WORD)
            passing.parts.push_back({at, std::min(WORD, part.size - at), part.is_float});
    } else if (shape.parts[0].size <= WORD && shape.parts[1].size <= WORD) {
        passing.how = Passing::RUST_PAIR;
        passing.parts = shape.parts;
    }
    return passing;
}

} // namespace native
