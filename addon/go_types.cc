#include "go_types.h"

#include "go_descriptors.h"

using namespace go_descriptors;

bool GoTypes::has(uint64_t address, uint64_t size) const {
    return address >= types_ && address - types_ <= region_.size() &&
           size <= region_.size() - (address - types_);
}

Cursor GoTypes::at(uint64_t address) const {
    if (!has(address, 0))
        malformed("a Go type lies outside of the types");
    return Cursor(region_, address - types_);
}

uint64_t GoTypes::word(uint64_t address) const { return at(address).u64(); }

bool GoTypes::is_type(uint64_t type) const {
    if (type % 8 != 0 || !has(type, TYPE_SIZE))
        return false;
    uint8_t number = region_[type - types_ + KIND] & KIND_MASK;
    uint8_t align = region_[type - types_ + ALIGNMENT];
    return number >= 1 && number <= static_cast<uint8_t>(GoKind::UNSAFE_POINTER) && align <= 64 &&
           base_size(type) && has(type, *base_size(type)) && at(type + NAME).u32() < region_.size();
}

uint8_t GoTypes::flags(uint64_t type) const { return *at(type + FLAGS).take(1); }

GoKind GoTypes::kind(uint64_t type) const {
    return static_cast<GoKind>(*at(type + KIND).take(1) & KIND_MASK);
}

uint64_t GoTypes::size(uint64_t type) const { return word(type); }

uint64_t GoTypes::alignment(uint64_t type) const { return *at(type + ALIGNMENT).take(1); }

// Up to where the uncommon type is; of a map, what all versions have.
std::optional<uint64_t> GoTypes::base_size(uint64_t type) const {
    switch (kind(type)) {
    case GoKind::ARRAY:
        return TYPE_SIZE + 24;
    case GoKind::CHAN:
        return TYPE_SIZE + 16;
    case GoKind::FUNC:
    case GoKind::POINTER:
    case GoKind::SLICE:
        return TYPE_SIZE + 8;
    case GoKind::INTERFACE:
    case GoKind::STRUCT:
        return TYPE_SIZE + 32;
    case GoKind::MAP:
        return layout_->type_links ? TYPE_SIZE + 16 : MAP_SIZES[0];
    default:
        return TYPE_SIZE;
    }
}

std::optional<uint64_t> GoTypes::uncommon(uint64_t type) const {
    if (!(flags(type) & UNCOMMON))
        return std::nullopt;
    if (kind(type) == GoKind::MAP && layout_->type_links) {
        // How large a map's descriptor is was a matter of build flags for a while: the path of the
        // package must end in the package's name.
        std::string name = short_name(type);
        std::string package = name.substr(0, name.find('.'));
        for (uint64_t size : MAP_SIZES) {
            if (!has(type + size, UNCOMMON_SIZE))
                continue;
            std::string path = text_of(at(type + size).u32());
            if (!package.empty() && path.size() >= package.size() &&
                path.compare(path.size() - package.size(), package.size(), package) == 0)
                return type + size;
        }
        return std::nullopt;
    }
    uint64_t address = type + *base_size(type);
    return has(address, UNCOMMON_SIZE) ? std::optional(address) : std::nullopt;
}

std::optional<uint64_t> GoTypes::type_at(uint64_t address) const {
    if (!has(address, 8))
        return std::nullopt;
    uint64_t type = word(address);
    return is_type(type) ? std::optional(type) : std::nullopt;
}

std::optional<uint64_t> GoTypes::offset_type(uint32_t offset) const {
    if (offset == 0 || offset == UINT32_MAX || !is_type(types_ + offset))
        return std::nullopt;
    return types_ + offset;
}

std::optional<uint64_t> GoTypes::element(uint64_t type) const {
    switch (kind(type)) {
    case GoKind::ARRAY:
    case GoKind::CHAN:
    case GoKind::POINTER:
    case GoKind::SLICE:
        return type_at(type + TYPE_SIZE);
    case GoKind::MAP:
        return type_at(type + TYPE_SIZE + 8);
    default:
        return std::nullopt;
    }
}

std::optional<uint64_t> GoTypes::key(uint64_t type) const {
    return kind(type) == GoKind::MAP ? type_at(type + TYPE_SIZE) : std::nullopt;
}

uint64_t GoTypes::count(uint64_t type) const {
    return kind(type) == GoKind::ARRAY ? word(type + TYPE_SIZE + 16) : 0;
}

std::vector<GoTypes::Field> GoTypes::fields(uint64_t type) const {
    std::vector<Field> fields;
    if (kind(type) != GoKind::STRUCT)
        return fields;
    uint64_t array = word(type + TYPE_SIZE + 8), count = word(type + TYPE_SIZE + 16);
    if (count > MOST_FIELDS || !has(array, count * FIELD_SIZE))
        return fields;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t name = word(array + i * FIELD_SIZE), of = word(array + i * FIELD_SIZE + 8);
        uint64_t offset = word(array + i * FIELD_SIZE + 16);
        if (!has(name, 2) || !is_type(of))
            return {};
        bool embedded = (*at(name).take(1) & NAME_EMBEDDED) != 0;
        fields.push_back({text(name), of, offset, embedded});
    }
    if (shifted_)
        for (Field &field : fields) {
            field.embedded = field.offset & 1;
            field.offset >>= 1;
        }
    return fields;
}

std::vector<std::string> GoTypes::interface_methods(uint64_t type) const {
    std::vector<std::string> names;
    if (kind(type) != GoKind::INTERFACE)
        return names;
    uint64_t array = word(type + TYPE_SIZE + 8), count = word(type + TYPE_SIZE + 16);
    if (count > MOST_FIELDS || !has(array, count * IMETHOD_SIZE))
        return names;
    for (uint64_t i = 0; i < count; i++)
        names.push_back(text_of(at(array + i * IMETHOD_SIZE).u32()));
    return names;
}

GoTypes::Signature GoTypes::signature(uint64_t function) const {
    Signature signature;
    if (kind(function) != GoKind::FUNC)
        return signature;
    Cursor cursor = at(function + TYPE_SIZE);
    uint16_t in = cursor.u16();
    uint16_t out = cursor.u16() & 0x7fff; // the top bit: variadic
    uint64_t array = function + *base_size(function);
    if (flags(function) & UNCOMMON)
        array += UNCOMMON_SIZE;
    if (!has(array, (uint64_t{in} + out) * 8))
        return signature;
    for (uint64_t i = 0; i < uint64_t{in} + out; i++)
        (i < in ? signature.parameters : signature.results).push_back(word(array + i * 8));
    return signature;
}

std::vector<GoTypes::Method> GoTypes::methods() const {
    std::vector<Method> methods;
    for (uint64_t type : all_) {
        std::optional<uint64_t> more = uncommon(type);
        if (!more)
            continue;
        Cursor head = at(*more);
        head.skip(4);
        uint16_t count = head.u16();
        head.skip(2);
        uint64_t array = *more + head.u32();
        if (!has(array, uint64_t{count} * METHOD_SIZE))
            continue;
        for (uint64_t i = 0; i < count && methods.size() < MOST_TYPES; i++) {
            Cursor cursor = at(array + i * METHOD_SIZE);
            uint32_t name = cursor.u32();
            std::optional<uint64_t> function = offset_type(cursor.u32());
            uint32_t interface = cursor.u32(), code = cursor.u32();
            // What nobody can call was left out by the linker (deadcode): -1, or 0 before 1.22.
            if (!function || kind(*function) != GoKind::FUNC || code == NO_METHOD || code == 0)
                continue;
            methods.push_back({type, text_of(name), *function, text_ + code, text_ + interface});
        }
    }
    return methods;
}
