#include "go_methods.h"

using go_abi::Shape;

MethodTable::MethodTable(const GoTypes &types) : types_(types) {
    for (GoTypes::Method &method : types.methods())
        methods_.emplace(method.code, std::move(method));
}

std::optional<Shape> MethodTable::shape_of(uint64_t type, unsigned depth) {
    if (auto known = shapes_.find(type); known != shapes_.end())
        return known->second;
    // A type that holds itself stays unknown.
    shapes_[type] = std::nullopt;
    return shapes_[type] = compute_shape(type, depth);
}

std::optional<Shape> MethodTable::compute_shape(uint64_t type, unsigned depth) {
    if (depth > go_abi::DEEPEST_TYPE)
        return std::nullopt;
    uint64_t size = types_.size(type);
    if (size > go_abi::LARGEST_TYPE)
        return std::nullopt;
    switch (types_.kind(type)) {
    case GoKind::STRUCT: {
        Shape shape;
        shape.size = size;
        for (const GoTypes::Field &field : types_.fields(type)) {
            std::optional<Shape> member = shape_of(field.type, depth + 1);
            if (!member)
                return std::nullopt;
            shape.add(*member);
        }
        return shape;
    }
    case GoKind::ARRAY: {
        std::optional<uint64_t> element = types_.element(type);
        std::optional<Shape> shape = element ? shape_of(*element, depth + 1) : std::nullopt;
        return shape ? shape->times(types_.count(type)) : std::nullopt;
    }
    case GoKind::STRING:
    case GoKind::INTERFACE:
        return Shape{16, 8, true, {false, false}};
    case GoKind::SLICE:
        return Shape{24, 8, true, {false, false, false}};
    case GoKind::FLOAT32:
    case GoKind::FLOAT64:
        return go_abi::floating(size);
    case GoKind::COMPLEX64:
    case GoKind::COMPLEX128:
        return go_abi::complex(size);
    default:
        return size > 0 && size <= go_abi::WORD ? std::optional(go_abi::integer(size))
                                                : std::nullopt;
    }
}

std::optional<std::vector<Parameter>>
MethodTable::parameters(uint64_t address, std::optional<uint32_t> argument_bytes) {
    auto found = methods_.find(address);
    if (found == methods_.end())
        return std::nullopt;
    const GoTypes::Method &method = found->second;
    GoTypes::Signature signature = types_.signature(method.function);
    std::vector<go_abi::Slot> slots;
    std::vector<Parameter> parameters;
    auto add = [&](uint64_t type, bool result) {
        std::optional<Shape> shape = types_.is_type(type) ? shape_of(type, 0) : std::nullopt;
        if (!shape)
            return false;
        slots.push_back({*shape, result});
        parameters.push_back({"", types_.name(type), result, {}, {}});
        return true;
    };
    bool known = add(method.receiver, false);
    for (uint64_t type : signature.parameters)
        known = known && add(type, false);
    for (uint64_t type : signature.results)
        known = known && add(type, true);
    if (!known)
        return std::nullopt;
    go_abi::Layout layout = go_abi::lay_out(slots, true);
    // An instance of a generic type is passed its dictionary besides, and assembly has all on the
    // stack: then the frame's size differs.
    if (argument_bytes && *argument_bytes != layout.bytes)
        return std::nullopt;
    for (size_t i = 0; i < parameters.size(); i++) {
        parameters[i].registers = layout.places[i].registers;
        parameters[i].stack_offset = layout.places[i].stack_offset;
    }
    return parameters;
}
