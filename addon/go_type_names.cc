// Types by name.
#include "go_descriptors.h"
#include "go_types.h"

using namespace go_descriptors;

static constexpr uint64_t LONGEST_NAME = 16u << 10;
static constexpr unsigned DEEPEST_NAME = 16;
// Of one name: a hostile file could have all types lie over each other.
static constexpr size_t MOST_PARTS = 4096;

// Nothing here may fail: a type with a broken name has none.
std::string GoTypes::text(uint64_t name) const {
    if (!has(name, 2))
        return {};
    Cursor cursor = at(name + 1);
    uint64_t length = 0;
    for (unsigned shift = 0; shift < 28; shift += 7) {
        if (cursor.left() == 0)
            return {};
        uint8_t byte = cursor.u8();
        length |= uint64_t{byte & 0x7fu} << shift;
        if (!(byte & 0x80))
            break;
    }
    if (length > LONGEST_NAME || length > cursor.left())
        return {};
    return std::string(reinterpret_cast<const char *>(cursor.take(length)), length);
}

std::string GoTypes::short_name(uint64_t type) const {
    std::string name = text_of(at(type + NAME).u32());
    if ((flags(type) & EXTRA_STAR) && !name.empty())
        name.erase(0, 1);
    return name;
}

// "http.Request" in the descriptor, with the path of the package beside it.
std::string GoTypes::named(uint64_t type) const {
    std::string name = short_name(type);
    std::optional<uint64_t> more = uncommon(type);
    uint32_t path = more ? at(*more).u32() : 0;
    size_t dot = name.find('.');
    if (path == 0 || dot == std::string::npos || dot > name.find('['))
        return name;
    std::string package = text_of(path);
    return package.empty() ? name : package + name.substr(dot);
}

std::string GoTypes::list(const std::vector<uint64_t> &types, unsigned depth) const {
    std::string joined;
    for (uint64_t type : types) {
        if (!joined.empty())
            joined += ", ";
        joined += name_within(type, depth);
    }
    return joined;
}

std::string GoTypes::make_name(uint64_t type, unsigned depth) const {
    if (flags(type) & NAMED)
        return named(type);
    auto inner = [&](std::optional<uint64_t> of) {
        return of ? name_within(*of, depth + 1) : std::string("?");
    };
    switch (kind(type)) {
    case GoKind::POINTER:
        return "*" + inner(element(type));
    case GoKind::SLICE:
        return "[]" + inner(element(type));
    case GoKind::ARRAY:
        return "[" + std::to_string(count(type)) + "]" + inner(element(type));
    case GoKind::MAP:
        return "map[" + inner(key(type)) + "]" + inner(element(type));
    case GoKind::FUNC: {
        Signature signature = this->signature(type);
        std::string text = "func(" + list(signature.parameters, depth + 1) + ")";
        if (signature.results.size() == 1)
            return text + " " + name_within(signature.results[0], depth + 1);
        if (!signature.results.empty())
            text += " (" + list(signature.results, depth + 1) + ")";
        return text;
    }
    default:
        return named(type);
    }
}

std::string GoTypes::name_within(uint64_t type, unsigned depth) const {
    if (auto known = names_.find(type); known != names_.end())
        return known->second;
    if (depth == 0)
        parts_ = 0;
    if (depth > DEEPEST_NAME || ++parts_ > MOST_PARTS || !is_type(type))
        return "?";
    std::string name = make_name(type, depth);
    if (name.size() > LONGEST_NAME)
        name.resize(LONGEST_NAME);
    if (depth == 0)
        names_.emplace(type, name);
    return name;
}

std::string GoTypes::name(uint64_t type) const { return name_within(type, 0); }

std::optional<uint64_t> GoTypes::find(const std::string &name) const {
    if (by_name_.empty())
        for (uint64_t type : all_)
            by_name_.emplace(this->name(type), type);
    auto found = by_name_.find(name);
    return found == by_name_.end() ? std::nullopt : std::optional(found->second);
}
