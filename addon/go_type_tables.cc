// Which types there are: the tables of a Go program's module.
#include <algorithm>
#include <iterator>

#include "go_descriptors.h"
#include "go_types.h"

using namespace go_descriptors;

static constexpr uint64_t LARGEST_REGION = 512u << 20;

enum { TEXT = 22, TEXT_END = 23 };

// runtime.moduledata in each version's runtime/symtab.go, newest first.
const GoTypes::Layout GoTypes::LAYOUTS[] = {
    {37, 39, 0, 0, 38, 40}, // 1.27
    {37, 38, 45, 48, 0, 0}, // 1.26
    {37, 38, 44, 47, 0, 0}, // 1.20 to 1.25
    {35, 36, 42, 45, 0, 0}, // 1.18 and 1.19
};

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
