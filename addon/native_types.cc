#include "native_types.h"

#include <algorithm>

using namespace dwarf;

namespace native {

static constexpr unsigned MOST_LINKS = 32;
static constexpr unsigned DEEPEST = 32;
static constexpr size_t MOST_FIELDS = 4096;
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
        "unknown", "void",  "bool",      "int",    "uint",  "float", "complex", "char",    "pointer",
        "reference", "struct", "union", "array", "enum", "variant", "string", "slice", "func"};
    return NAMES[static_cast<size_t>(kind)];
}

static bool begins(std::string_view text, std::string_view with) {
    return text.substr(0, with.size()) == with;
}

static bool is_link(uint16_t tag) {
    return tag == TAG_TYPEDEF || tag == TAG_CONST || tag == TAG_VOLATILE || tag == TAG_RESTRICT ||
           tag == TAG_ATOMIC;
}

static bool is_record(uint16_t tag) {
    return tag == TAG_STRUCTURE || tag == TAG_CLASS || tag == TAG_UNION;
}

static bool flag(const Entry &entry, uint16_t name) {
    const Attribute *attribute = entry.find(name);
    return attribute && attribute->number != 0;
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
        if (flag(entry, AT_DECLARATION)) {
            std::optional<uint64_t> definition = definition_of(at);
            if (!definition || *definition == at) {
                type.problem = "the type " + type.name + " is only declared";
                return type;
            }
            at = *definition;
            continue;
        }
        if (!is_link(entry.tag)) {
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
        type.kind = begins(name, "&") || begins(name, "alloc::boxed::Box<") ? Kind::REFERENCE
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
        type.count = array_count(reader_, entry);
        type.is_vector = flag(entry, AT_GNU_VECTOR);
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

void TypeReader::read_member(const Entry &member, Type &type) {
    // Static ones lie elsewhere.
    if (flag(member, AT_EXTERNAL) || flag(member, AT_DECLARATION))
        return;
    std::optional<uint64_t> at = member_offset(member);
    Field field;
    field.name = member.text(AT_NAME);
    field.is_bits = member.find(AT_BIT_SIZE) != nullptr;
    field.embedded = member.tag == TAG_INHERITANCE || field.name.empty();
    field.type = type_of(member);
    field.offset = at.value_or(0);
    // "__0" is how Rust's field 0 is called in DWARF.
    if (type.is_rust && begins(field.name, "__") && field.name.size() > 2 &&
        field.name.find_first_not_of("0123456789", 2) == std::string::npos)
        field.name.erase(0, 2);
    if ((!at && !field.is_bits) || field.offset > LARGEST || field.type == NO_TYPE)
        return;
    type.fields.push_back(std::move(field));
}

// A class that is copied or destroyed by a function of its own has to be in memory.
void TypeReader::read_method(const Entry &method, std::string_view record, Type &type) {
    if (method.number(AT_VIRTUALITY, Class::CONSTANT).value_or(0) != 0)
        type.is_passed_by_address = true;
    std::string_view name = method.text(AT_NAME);
    std::string_view plain = record.substr(0, record.find('<'));
    bool is_destructor = begins(name, "~");
    // What the compiler made itself is as its members are.
    if ((!is_destructor && name != plain && name != record) || method.find(AT_DEFAULTED) ||
        flag(method, AT_ARTIFICIAL) || !flag(method, AT_DECLARATION))
        return;
    if (is_destructor) {
        type.is_passed_by_address = true;
        return;
    }
    unsigned parameters = 0;
    bool copies = false;
    reader_.children(method.offset, [&](const Entry &child) {
        if (child.tag != TAG_FORMAL_PARAMETER)
            return true;
        if (parameters++ == 0)
            return true;
        Entry target;
        uint64_t at = type_of(child);
        bool by_reference = false;
        for (unsigned i = 0; i < 4; i++) {
            const Unit *unit = reader_.unit_of(at);
            if (!unit)
                break;
            reader_.read(*unit, at, target);
            if (target.tag == TAG_REFERENCE || target.tag == TAG_RVALUE_REFERENCE)
                by_reference = true;
            else if (!is_link(target.tag)) {
                copies = by_reference && parameters == 2 && target.text(AT_NAME) == record;
                break;
            }
            at = type_of(target);
        }
        return false;
    });
    if (copies)
        type.is_passed_by_address = true;
}

void TypeReader::read_variants(uint64_t part, Type &type) {
    Entry entry;
    const Unit *unit = reader_.unit_of(part);
    if (!unit)
        return;
    reader_.read(*unit, part, entry);
    std::optional<uint64_t> discriminant = entry.number(AT_DISCR, Class::REFERENCE);
    reader_.children(part, [&](const Entry &child) {
        if (child.tag == TAG_MEMBER && discriminant == child.offset) {
            std::optional<uint64_t> at = member_offset(child);
            if (at)
                type.discriminant = Field{"", type_of(child), *at, false, false};
        } else if (child.tag == TAG_VARIANT) {
            Variant variant;
            variant.value = child.number(AT_DISCR_VALUE, Class::CONSTANT);
            if (child.find(AT_DISCR_LIST) || (child.find(AT_DISCR_VALUE) && !variant.value))
                type.problem = "which variant it is depends on ranges of values";
            reader_.children(child.offset, [&](const Entry &member) {
                if (member.tag != TAG_MEMBER)
                    return true;
                variant.name = member.text(AT_NAME);
                variant.type = type_of(member);
                variant.offset = member_offset(member).value_or(0);
                return false;
            });
            type.variants.push_back(std::move(variant));
        }
        return type.variants.size() < MOST_NAMES;
    });
}

void TypeReader::read_record(const Entry &entry, Type &type) {
    std::string record(entry.text(AT_NAME));
    std::optional<uint64_t> parameter, part;
    // 4: by reference, 5: by value; clang says so.
    std::optional<uint64_t> convention = entry.number(AT_CALLING_CONVENTION, Class::CONSTANT);
    reader_.children(entry.offset, [&](const Entry &child) {
        if (child.tag == TAG_MEMBER || child.tag == TAG_INHERITANCE) {
            if (child.number(AT_VIRTUALITY, Class::CONSTANT).value_or(0) != 0)
                type.is_passed_by_address = true; // a virtual base, which lies no one knows where
            else
                read_member(child, type);
        } else if (child.tag == TAG_SUBPROGRAM) {
            read_method(child, record, type);
        } else if (child.tag == TAG_TEMPLATE_TYPE && !parameter) {
            parameter = type_of(child);
        } else if (child.tag == TAG_VARIANT_PART) {
            part = child.offset;
        }
        return type.fields.size() < MOST_FIELDS;
    });
    if (part) {
        type.kind = Kind::VARIANT;
        read_variants(*part, type);
    }
    for (const Field &field : type.fields) {
        if (type.is_passed_by_address || type.is_rust || type.size == 0)
            break;
        const Type *inner = &this->type(field.type);
        for (unsigned i = 0; i < MOST_LINKS && inner->kind == Kind::ARRAY; i++)
            inner = &this->type(*inner->element);
        type.is_passed_by_address = inner->is_passed_by_address;
    }
    if (convention == 4 || convention == 5)
        type.is_passed_by_address = convention == 4;
    find_text(type, record, parameter.value_or(ELSEWHERE));
}

static const Field *field_of(const Type &type, std::string_view name) {
    for (const Field &field : type.fields)
        if (field.name == name)
            return &field;
    return nullptr;
}

// Down to the one pointer of a Vec, whatever it is wrapped into.
std::optional<uint64_t> TypeReader::pointer_within(uint64_t id, unsigned depth) {
    const Type type = this->type(id);
    if (type.kind == Kind::POINTER)
        return 0;
    if (type.kind != Kind::STRUCT || depth > 8)
        return std::nullopt;
    for (std::string_view name : {"inner", "ptr", "pointer", "0"})
        if (const Field *field = field_of(type, name))
            if (std::optional<uint64_t> at = pointer_within(field->type, depth + 1))
                return field->offset + *at;
    return std::nullopt;
}

// Records that hold text or elements: known by the names of their fields, placed by DWARF.
void TypeReader::find_text(Type &type, std::string_view record_name, uint64_t parameter) {
    auto set = [&](Kind kind, uint64_t pointer, uint64_t length) {
        type.kind = kind;
        type.pointer_at = pointer;
        type.length_at = length;
    };
    if (type.kind != Kind::STRUCT)
        return;
    if (type.is_rust) {
        const Field *data = field_of(type, "data_ptr"), *length = field_of(type, "length");
        if (data && length && type.fields.size() == 2) {
            const Type &pointer = this->type(data->type);
            bool is_text = record_name.find("str") != std::string_view::npos &&
                           record_name.find('[') == std::string_view::npos;
            type.element = pointer.element;
            return set(is_text ? Kind::STRING : Kind::SLICE, data->offset, length->offset);
        }
        const Field *buffer = field_of(type, "buf");
        length = field_of(type, "len");
        if (buffer && length && begins(record_name, "Vec<")) {
            if (std::optional<uint64_t> at = pointer_within(buffer->type, 0)) {
                type.element = parameter;
                set(Kind::SLICE, buffer->offset + *at, length->offset);
            }
            return;
        }
        const Field *vector = field_of(type, "vec");
        if (vector && record_name == "String" && type.fields.size() == 1) {
            const Type &bytes = this->type(vector->type);
            if (bytes.kind == Kind::SLICE)
                set(Kind::STRING, vector->offset + bytes.pointer_at,
                    vector->offset + bytes.length_at);
        }
        return;
    }
    if (const Field *holder = field_of(type, "_M_dataplus")) {
        const Type &inner = this->type(holder->type);
        const Field *pointer = field_of(inner, "_M_p");
        const Field *length = field_of(type, "_M_string_length");
        if (pointer && length && this->type(pointer->type).kind == Kind::POINTER) {
            type.element = this->type(pointer->type).element;
            set(Kind::STRING, holder->offset + pointer->offset, length->offset);
        } else if (length && !inner.problem.empty() && record_name.find("<char,") < 14) {
            // Clang only declares what the library instantiates; the pointer is all it holds.
            set(Kind::STRING, holder->offset, length->offset);
        }
    }
    // std::string_view of libstdc++ and libc++.
    static constexpr std::pair<const char *, const char *> VIEWS[] = {
        {"_M_str", "_M_len"}, {"__data_", "__size_"}, {"__data", "__size"}};
    for (const auto &[data, size] : VIEWS) {
        const Field *pointer = field_of(type, data), *length = field_of(type, size);
        if (pointer && length && type.fields.size() == 2 &&
            this->type(pointer->type).kind == Kind::POINTER) {
            type.element = this->type(pointer->type).element;
            set(Kind::STRING, pointer->offset, length->offset);
        }
    }
    // Of wider characters nothing is shown.
    if (type.kind == Kind::STRING && type.element && this->type(*type.element).size != 1)
        type.kind = Kind::STRUCT;
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
            if (!flag(entry, AT_DECLARATION))
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
