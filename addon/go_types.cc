#include "go_types.h"

#include <elf.h>

#include <algorithm>

// abi.Type, the same from Go 1.18 to 1.27.
static constexpr uint64_t TYPE_SIZE = 48;
static constexpr uint64_t FLAGS = 20, ALIGNMENT = 21, KIND = 23, NAME = 40;
static constexpr uint8_t KIND_MASK = 31;
enum Flag : uint8_t { UNCOMMON = 1, EXTRA_STAR = 2, NAMED = 4 };
// abi.Name: flags, length as a varint, text.
static constexpr uint8_t NAME_EMBEDDED = 8;
// abi.UncommonType and abi.Method.
static constexpr uint64_t UNCOMMON_SIZE = 16, METHOD_SIZE = 16;
static constexpr uint32_t NO_METHOD = UINT32_MAX;
static constexpr uint64_t FIELD_SIZE = 24, IMETHOD_SIZE = 8;
static constexpr uint64_t ITAB_SIZE = 32; // with one method

static constexpr uint64_t LONGEST_NAME = 16u << 10;
static constexpr unsigned DEEPEST_NAME = 16;
static constexpr size_t MOST_TYPES = 4u << 20;
static constexpr uint64_t LARGEST_REGION = 512u << 20;
static constexpr uint64_t MOST_FIELDS = 16u << 10;
// Of a whole file, and of one name: a hostile one could have all types lie over each other.
static constexpr size_t MOST_STEPS = 32u << 20;
static constexpr size_t MOST_PARTS = 4096;

enum { TEXT = 22, TEXT_END = 23 };

// runtime.moduledata in each version's runtime/symtab.go, newest first.
const GoTypes::Layout GoTypes::LAYOUTS[] = {
    {37, 39, 0, 0, 38, 40}, // 1.27
    {37, 38, 45, 48, 0, 0}, // 1.26
    {37, 38, 44, 47, 0, 0}, // 1.20 to 1.25
    {35, 36, 42, 45, 0, 0}, // 1.18 and 1.19
};
// abi.MapType: with split groups (1.27), as Swiss tables (1.24), and before.
static constexpr uint64_t MAP_SIZES[] = {136, 112, 88};

std::optional<GoTypes> GoTypes::load(const ElfFile &elf, uint64_t module_data) {
    Relocations relocations(elf);
    for (const Layout &layout : LAYOUTS) {
        GoTypes types;
        if (types.read_module(elf, relocations, module_data, layout)) {
            types.reach_all();
            types.shifted_ = types.has_shifted_offsets();
            return types;
        }
    }
    return std::nullopt;
}

bool GoTypes::read_module(const ElfFile &elf, const Relocations &relocations, uint64_t module_data,
                          const Layout &layout) {
    std::vector<uint64_t> words = relocations.words(module_data, 56);
    if (words.empty())
        return false;
    layout_ = &layout;
    text_ = words[TEXT];
    types_ = words[layout.types];
    uint64_t end = words[layout.types_end];
    if (text_ >= words[TEXT_END] || types_ >= end || end - types_ > LARGEST_REGION)
        return false;
    std::optional<Bytes> region = elf.memory(types_, end - types_);
    if (!region)
        return false;
    region_ = std::move(*region);
    relocations.apply(types_, region_);
    if (!layout.type_links) {
        uint64_t offset = words[layout.itab_offset], size = words[layout.itab_offset + 1];
        if (offset > region_.size() || size > region_.size() - offset ||
            !walk_descriptors(words[layout.descriptors]))
            return false;
        walk_itabs(types_ + offset, size);
        return true;
    }
    return read_links(elf, relocations, words);
}

// typelinks []int32, itablinks []*itab
bool GoTypes::read_links(const ElfFile &elf, const Relocations &relocations,
                         const std::vector<uint64_t> &words) {
    const uint64_t *links = &words[layout_->type_links], *tables = &words[layout_->itab_links];
    if (links[1] != links[2] || tables[1] != tables[2] || links[1] > MOST_TYPES ||
        tables[1] > MOST_TYPES || links[1] == 0)
        return false;
    std::optional<Bytes> offsets = elf.memory(links[0], links[1] * 4);
    if (!offsets)
        return false;
    Cursor cursor(*offsets);
    for (uint64_t i = 0; i < links[1]; i++) {
        uint64_t type = types_ + cursor.u32();
        if (!is_type(type))
            return false;
        all_.push_back(type);
    }
    if (tables[1] == 0)
        return true;
    std::vector<uint64_t> itabs = relocations.words(tables[0], tables[1]);
    if (itabs.empty())
        return false;
    for (uint64_t itab : itabs) {
        std::vector<uint64_t> head = relocations.words(itab, 2);
        if (head.empty() || !is_type(head[0]) || !is_type(head[1]) ||
            kind(head[0]) != GoKind::INTERFACE)
            return false;
        itabs_.push_back({itab, head[0], head[1]});
    }
    return true;
}

// Descriptors lie side by side behind the first word (runtime/type.go, moduleTypelinks).
bool GoTypes::walk_descriptors(uint64_t size) {
    if (size > region_.size())
        return false;
    for (uint64_t at = types_ + 8, end = types_ + size; at < end;) {
        at = (at + 7) & ~uint64_t{7};
        std::optional<uint64_t> length = is_type(at) ? base_size(at) : std::nullopt;
        if (!length)
            return false;
        all_.push_back(at);
        uint64_t methods = 0, further = 0;
        if (std::optional<uint64_t> more = uncommon(at)) {
            Cursor cursor = this->at(*more);
            cursor.skip(4);
            methods = cursor.u16();
            *length += UNCOMMON_SIZE;
        }
        if (kind(at) == GoKind::FUNC) {
            Signature signature = this->signature(at);
            further = (signature.parameters.size() + signature.results.size()) * 8;
        } else if (kind(at) == GoKind::INTERFACE) {
            further = word(at + TYPE_SIZE + 16) * IMETHOD_SIZE;
        } else if (kind(at) == GoKind::STRUCT) {
            further = word(at + TYPE_SIZE + 16) * FIELD_SIZE;
        }
        if (further > region_.size() || all_.size() > MOST_TYPES)
            return false;
        at += *length + further + methods * METHOD_SIZE;
    }
    return true;
}

// They lie side by side too (abi.ITab.Size).
void GoTypes::walk_itabs(uint64_t address, uint64_t size) {
    for (uint64_t at = address; at - address < size && has(at, ITAB_SIZE);) {
        uint64_t interface = word(at), type = word(at + 8);
        if (!is_type(interface) || !is_type(type) || kind(interface) != GoKind::INTERFACE)
            return;
        itabs_.push_back({at, interface, type});
        uint64_t methods = word(interface + TYPE_SIZE + 16);
        at += ITAB_SIZE;
        if (word(at - 8) != 0 && methods > 0 && methods < MOST_FIELDS)
            at += (methods - 1) * 8;
    }
}

// Links name only types without a name; what those are made of has descriptors as well.
void GoTypes::reach_all() {
    std::unordered_map<uint64_t, bool> seen;
    std::vector<uint64_t> found;
    auto add = [&](std::optional<uint64_t> type) {
        if (type && is_type(*type) && found.size() < MOST_TYPES && seen.emplace(*type, true).second)
            found.push_back(*type);
    };
    for (uint64_t type : all_)
        add(type);
    for (const Itab &itab : itabs_) {
        add(itab.interface);
        add(itab.type);
    }
    size_t steps = 0;
    for (size_t i = 0; i < found.size() && steps < MOST_STEPS; i++) {
        uint64_t type = found[i];
        add(element(type));
        add(key(type));
        add(offset_type(at(type + NAME + 4).u32()));
        if (kind(type) == GoKind::STRUCT)
            for (const Field &field : fields(type)) {
                add(field.type);
                steps++;
            }
        if (kind(type) == GoKind::FUNC) {
            Signature signature = this->signature(type);
            steps += signature.parameters.size() + signature.results.size();
            for (uint64_t each : signature.parameters)
                add(each);
            for (uint64_t each : signature.results)
                add(each);
        }
    }
    std::sort(found.begin(), found.end());
    all_ = std::move(found);
}

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

// structfield.offsetAnon in 1.18's runtime/type.go: the lowest bit says that the field is embedded.
// Read as later versions have it, fields would lie beyond their types.
bool GoTypes::has_shifted_offsets() const {
    if (layout_->types != LAYOUTS[std::size(LAYOUTS) - 1].types)
        return false;
    size_t steps = 0;
    return std::any_of(all_.begin(), all_.end(), [&](uint64_t type) {
        std::vector<Field> fields;
        if (steps < MOST_STEPS)
            fields = this->fields(type);
        steps += fields.size();
        return std::any_of(fields.begin(), fields.end(), [&](const Field &field) {
            return field.offset + size(field.type) > size(type);
        });
    });
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
