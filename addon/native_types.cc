#include "native_types.h"

#include <algorithm>

using namespace dwarf;

namespace native {

static constexpr unsigned MOST_LINKS = 32;
static constexpr unsigned DEEPEST = 32;
static constexpr size_t MOST_NAMES = 4096;
static constexpr size_t MOST_DEFINITIONS = 4u << 20;
static constexpr uint64_t LARGEST = uint64_t{1} << 40;
static constexpr uint64_t LANGUAGE_RUST = 0x1c;

// DW_ATE_*
enum Encoding : uint64_t {
    ENCODING_BOOLEAN = 2,
    ENCODING_COMPLEX = 3,
    ENCODING_FLOAT = 4,
    ENCODING_SIGNED = 5,
    ENCODING_SIGNED_CHAR = 6,
    ENCODING_UNSIGNED = 7,
    ENCODING_UNSIGNED_CHAR = 8,
    ENCODING_UTF = 16,
};

const char *kind_name(Kind kind) {
    static constexpr const char *NAMES[] = {
        "unknown",   "void",   "bool",  "int",   "uint", "float",   "complex", "char",  "pointer",
        "reference", "struct", "union", "array", "enum", "variant", "string",  "slice", "func"};
    return NAMES[static_cast<size_t>(kind)];
}

static bool is_record(uint16_t tag) {
    return tag == TAG_STRUCTURE || tag == TAG_CLASS || tag == TAG_UNION;
}

uint64_t TypeReader::type_of(const Entry &entry) const {
    const Attribute *type = entry.find(AT_TYPE);
    if (!type)
        return NO_TYPE;
    return type->kind == Class::REFERENCE ? type->number : ELSEWHERE;
}

const Type &TypeReader::type(uint64_t id) {
    if (auto known = known_.find(id); known != known_.end())
        return known->second;
    static const Type TOO_DEEP = [] {
        Type type;
        type.problem = "it is nested too deep";
        return type;
    }();
    if (depth_ > DEEPEST)
        return TOO_DEEP;
    // A type that holds itself stays unknown.
    Type &found = known_[id];
    found.problem = "it holds itself";
    depth_++;
    try {
        found = read(id);
    } catch (...) {
        depth_--;
        known_.erase(id);
        throw;
    }
    depth_--;
    return found;
}

Type TypeReader::read(uint64_t id) {
    Type type;
    type.id = id;
    if (id == NO_TYPE) {
        type.kind = Kind::VOID;
        type.name = "void";
        return type;
    }
    type.name = name_of(id, 0);
    uint64_t at = id;
    Entry entry;
    for (unsigned i = 0; i < MOST_LINKS; i++) {
        const Unit *unit = reader_.unit_of(at);
        if (!unit) {
            type.problem = "its type is described in another file or section";
            return type;
        }
        reader_.read(*unit, at, entry);
        type.is_rust = unit->language == LANGUAGE_RUST;
        // Its definition is in a type unit.
        if (const Attribute *signature = entry.find(AT_SIGNATURE)) {
            at = signature->kind == Class::REFERENCE ? signature->number : ELSEWHERE;
            continue;
        }
        if (entry.flag(AT_DECLARATION)) {
            std::optional<uint64_t> definition = definition_of(at);
            if (!definition || *definition == at) {
                type.problem = "the type " + type.name + " is only declared";
                return type;
            }
            at = *definition;
            continue;
        }
        if (!is_qualifier(entry.tag)) {
            read_entry(entry, type);
            return type;
        }
        at = type_of(entry);
        if (at == NO_TYPE) {
            type.kind = Kind::VOID;
            return type;
        }
    }
    type.problem = "its type leads nowhere";
    return type;
}

static Kind base_kind(uint64_t encoding, std::string_view name) {
    switch (encoding) {
    case ENCODING_BOOLEAN:
        return Kind::BOOL;
    case ENCODING_COMPLEX:
        return Kind::COMPLEX;
    case ENCODING_FLOAT:
        return Kind::FLOAT;
    case ENCODING_SIGNED:
        return Kind::INT;
    case ENCODING_UNSIGNED:
        return name == "()" ? Kind::STRUCT : Kind::UINT;
    case ENCODING_SIGNED_CHAR:
        return name == "char" ? Kind::CHAR : Kind::INT;
    case ENCODING_UNSIGNED_CHAR:
        return name == "char" ? Kind::CHAR : Kind::UINT;
    case ENCODING_UTF:
        return Kind::CHAR;
    default:
        return Kind::UNKNOWN;
    }
}

// Of all dimensions; nothing where one of them is not a constant, or all are too many.
static std::optional<uint64_t> elements_of(const Reader &reader, const Entry &array) {
    std::optional<uint64_t> count;
    bool is_known = true;
    reader.children(array.offset, [&](const Entry &child) {
        if (child.tag != TAG_SUBRANGE && child.tag != TAG_ENUMERATION)
            return true;
        std::optional<uint64_t> length = child.number(AT_COUNT, Class::CONSTANT);
        if (!length)
            if (auto last = child.number(AT_UPPER_BOUND, Class::CONSTANT))
                length = *last + 1;
        is_known = length && (*length == 0 || count.value_or(1) <= LARGEST / *length);
        if (is_known)
            count = count.value_or(1) * *length;
        return is_known;
    });
    return is_known ? count : std::nullopt;
}

void TypeReader::read_entry(const Entry &entry, Type &type) {
    type.size = entry.number(AT_BYTE_SIZE, Class::CONSTANT).value_or(0);
    type.alignment = entry.number(AT_ALIGNMENT, Class::CONSTANT).value_or(0);
    std::string_view name = entry.text(AT_NAME);
    if (type.size > LARGEST) {
        type.problem = "it is too large";
        return;
    }
    switch (entry.tag) {
    case TAG_BASE_TYPE:
        type.kind = base_kind(entry.number(AT_ENCODING, Class::CONSTANT).value_or(0), name);
        if (type.kind == Kind::UNKNOWN)
            type.problem = "the type " + type.name + " is of no kind that is known here";
        return;
    case TAG_POINTER:
        // Rust's references and boxes have names of their own.
        type.kind = name.starts_with("&") || name.starts_with("alloc::boxed::Box<")
                        ? Kind::REFERENCE
                        : Kind::POINTER;
        type.size = 8;
        type.element = type_of(entry);
        return;
    case TAG_REFERENCE:
    case TAG_RVALUE_REFERENCE:
        type.kind = Kind::REFERENCE;
        type.size = 8;
        type.element = type_of(entry);
        return;
    case TAG_SUBROUTINE_TYPE:
        type.kind = Kind::FUNCTION;
        type.size = 8;
        return;
    case TAG_UNSPECIFIED_TYPE: // nullptr_t
        type.kind = Kind::POINTER;
        type.size = 8;
        type.element = NO_TYPE;
        return;
    case TAG_ENUMERATION:
        return read_enum(entry, type);
    case TAG_ARRAY: {
        type.kind = Kind::ARRAY;
        type.element = type_of(entry);
        type.count = elements_of(reader_, entry);
        type.is_vector = entry.flag(AT_GNU_VECTOR);
        const Type &element = this->type(*type.element);
        if (type.count && element.size != 0 && *type.count > LARGEST / element.size) {
            type.kind = Kind::UNKNOWN;
            type.problem = "it is too large";
        } else if (type.count) {
            type.size = *type.count * element.size;
        } else {
            type.problem = "how many elements it has is not known";
        }
        return;
    }
    case TAG_STRUCTURE:
    case TAG_CLASS:
    case TAG_UNION:
        type.kind = entry.tag == TAG_UNION ? Kind::UNION : Kind::STRUCT;
        return read_record(entry, type);
    default:
        type.problem = "the type " + type.name + " is of no kind that is known here";
    }
}

void TypeReader::read_enum(const Entry &entry, Type &type) {
    type.kind = Kind::ENUM;
    uint64_t base = type_of(entry);
    type.is_signed = base != NO_TYPE && base != ELSEWHERE && this->type(base).kind == Kind::INT;
    reader_.children(entry.offset, [&](const Entry &child) {
        std::optional<uint64_t> value = child.number(AT_CONST_VALUE, Class::CONSTANT);
        if (child.tag == TAG_ENUMERATOR && value) {
            type.names.emplace_back(child.text(AT_NAME), *value);
            // Without a type of its own, one that is below zero tells.
            type.is_signed = type.is_signed || (base == NO_TYPE && *value >> 63 != 0);
        }
        return type.names.size() < MOST_NAMES;
    });
}

// As the source writes it, without what it is declared in.
std::string TypeReader::name_of(uint64_t id, unsigned depth) {
    if (id == NO_TYPE)
        return "void";
    const Unit *unit = reader_.unit_of(id);
    if (!unit || depth > MOST_LINKS)
        return "?";
    Entry entry;
    reader_.read(*unit, id, entry);
    std::string_view name = entry.text(AT_NAME);
    if (!name.empty())
        return std::string(name);
    if (auto signature = entry.number(AT_SIGNATURE, Class::REFERENCE))
        return name_of(*signature, depth + 1);
    auto inner = [&] { return name_of(type_of(entry), depth + 1); };
    auto pointed = [&](const char *mark) {
        std::string text = inner();
        return text + (text.ends_with('*') ? "" : " ") + mark;
    };
    switch (entry.tag) {
    case TAG_POINTER:
        return pointed("*");
    case TAG_REFERENCE:
        return pointed("&");
    case TAG_RVALUE_REFERENCE:
        return pointed("&&");
    case TAG_CONST: {
        std::string text = inner();
        return text.ends_with('*') ? text + " const" : "const " + text;
    }
    case TAG_VOLATILE:
        return "volatile " + inner();
    case TAG_RESTRICT:
    case TAG_ATOMIC:
        return inner();
    case TAG_ARRAY: {
        std::optional<uint64_t> count = array_count(reader_, entry);
        return inner() + "[" + (count ? std::to_string(*count) : "") + "]";
    }
    case TAG_SUBROUTINE_TYPE:
        return "function";
    default:
        return "?";
    }
}

static bool is_scope(uint16_t tag) { return tag == TAG_NAMESPACE || is_record(tag); }

// Visits every named type, with the scopes that it is declared in.
template <typename Visit>
static void walk_scopes(const Reader &reader, const Unit &unit, Visit visit) {
    std::vector<std::pair<unsigned, size_t>> scopes; // depth, and length of the name outside of it
    std::string prefix;
    reader.walk(unit, [&](const Entry &entry, unsigned depth) {
        while (!scopes.empty() && scopes.back().first >= depth) {
            prefix.resize(scopes.back().second);
            scopes.pop_back();
        }
        std::string_view name = entry.text(AT_NAME);
        if ((is_record(entry.tag) || entry.tag == TAG_ENUMERATION) && !name.empty() &&
            !visit(entry, prefix))
            return false;
        if (entry.has_children) {
            scopes.emplace_back(depth, prefix.size());
            if (is_scope(entry.tag) && !name.empty() && prefix.size() < 4096)
                prefix.append(name).append("::");
        }
        return true;
    });
}

std::string TypeReader::qualified_name(uint64_t id) {
    const Unit *unit = reader_.unit_of(id);
    std::string qualified = name_of(id, 0);
    if (unit)
        walk_scopes(reader_, *unit, [&](const Entry &entry, const std::string &prefix) {
            if (entry.offset == id)
                qualified = prefix + std::string(entry.text(AT_NAME));
            return entry.offset < id;
        });
    return qualified;
}

void TypeReader::index_definitions() {
    definitions_.emplace();
    for (const Unit &unit : reader_.units())
        walk_scopes(reader_, unit, [&](const Entry &entry, const std::string &prefix) {
            if (!entry.flag(AT_DECLARATION))
                definitions_->emplace(prefix + std::string(entry.text(AT_NAME)), entry.offset);
            return definitions_->size() < MOST_DEFINITIONS;
        });
}

std::optional<uint64_t> TypeReader::definition_of(uint64_t declaration) {
    if (!definitions_)
        index_definitions();
    auto found = definitions_->find(qualified_name(declaration));
    return found == definitions_->end() ? std::nullopt : std::optional(found->second);
}

} // namespace native
