#include "native_types.h"

using namespace dwarf;

// Records: their fields, what of them is text, and whether C++ passes them by address.
namespace native {

static constexpr unsigned MOST_LINKS = 32;
static constexpr size_t MOST_FIELDS = 4096;
static constexpr size_t MOST_VARIANTS = 4096;
static constexpr uint64_t LARGEST = uint64_t{1} << 40;

// False: it is not known where they are.
bool TypeReader::place_bits(const Entry &member, uint64_t at, Field &field) {
    uint64_t size = member.number(AT_BIT_SIZE, Class::CONSTANT).value_or(0);
    if (size == 0 || size > 64 || at > LARGEST)
        return false;
    int64_t first = static_cast<int64_t>(at * 8);
    if (auto from_start = member.number(AT_DATA_BIT_OFFSET, Class::CONSTANT)) {
        first = static_cast<int64_t>(*from_start);
    } else if (auto from_top = member.number(AT_BIT_OFFSET, Class::CONSTANT)) {
        // Up to DWARF 3: from the highest bit of what it is stored in; packed ones may begin
        // before.
        uint64_t stored =
            member.number(AT_BYTE_SIZE, Class::CONSTANT).value_or(this->type(field.type).size);
        if (stored > 16)
            return false;
        int64_t before = static_cast<int64_t>(*from_top);
        if (before < -128 || before > 128)
            return false;
        first += static_cast<int64_t>(stored * 8 - size) - before;
    }
    if (first < 0 || first > static_cast<int64_t>(LARGEST) * 8)
        return false;
    field.offset = static_cast<uint64_t>(first) / 8;
    field.bit_offset = static_cast<uint8_t>(first % 8);
    field.bit_size = static_cast<uint8_t>(size);
    return true;
}

void TypeReader::read_member(const Entry &member, Type &type) {
    // Static ones lie elsewhere.
    if (member.flag(AT_EXTERNAL) || member.flag(AT_DECLARATION))
        return;
    std::optional<uint64_t> at = member_offset(member);
    Field field;
    field.name = member.text(AT_NAME);
    field.embedded = member.tag == TAG_INHERITANCE || field.name.empty();
    field.type = type_of(member);
    field.offset = at.value_or(0);
    // "__0" is how Rust's field 0 is called in DWARF.
    if (type.is_rust && field.name.starts_with("__") && field.name.size() > 2 &&
        field.name.find_first_not_of("0123456789", 2) == std::string::npos)
        field.name.erase(0, 2);
    if (!at || field.offset > LARGEST || field.type == NO_TYPE)
        return;
    if (member.find(AT_BIT_SIZE) && !place_bits(member, *at, field)) {
        type.problem = "where its field of bits " + field.name + " is is not known";
        field.bit_size = 1;
    }
    type.fields.push_back(std::move(field));
}

// A class that is copied or destroyed by a function of its own has to be in memory.
void TypeReader::read_method(const Entry &method, std::string_view record, Type &type) {
    if (method.number(AT_VIRTUALITY, Class::CONSTANT).value_or(0) != 0)
        type.is_passed_by_address = true;
    std::string_view name = method.text(AT_NAME);
    std::string_view plain = record.substr(0, record.find('<'));
    bool is_destructor = name.starts_with("~");
    // What the compiler made itself is as its members are.
    if ((!is_destructor && name != plain && name != record) || method.find(AT_DEFAULTED) ||
        method.flag(AT_ARTIFICIAL) || !method.flag(AT_DECLARATION))
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
            else if (!is_qualifier(target.tag)) {
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
                type.discriminant = Field{"", type_of(child), *at};
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
        return type.variants.size() < MOST_VARIANTS;
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

// A field by name, also of base classes, of unnamed members, and of what libc++ wraps its own into.
// `offset` is where the search begins, and then the field's.
const Field *TypeReader::find_within(uint64_t id, std::string_view name, uint64_t &offset,
                                     unsigned depth) {
    const Type &type = this->type(id);
    if (const Field *field = field_of(type, name)) {
        offset += field->offset;
        return field;
    }
    if (depth > 8)
        return nullptr;
    for (const Field &field : type.fields) {
        if (!field.embedded && field.name != "__value_" && field.name != "__r_" &&
            field.name != "__rep_")
            continue;
        uint64_t at = offset + field.offset;
        if (const Field *found = find_within(field.type, name, at, depth + 1)) {
            offset = at;
            return found;
        }
    }
    return nullptr;
}

// libc++'s usual layout: of long text capacity, length and pointer; of short text one byte, in
// which it says so, and then the text. Any other is left a record.
bool TypeReader::find_libcxx_text(Type &type) {
    for (std::string_view name : {"__r_", "__rep_"}) {
        const Field *holder = field_of(type, name);
        if (!holder)
            continue;
        uint64_t long_at = holder->offset, short_at = holder->offset;
        const Field *in_long = find_within(holder->type, "__l", long_at);
        const Field *in_short = find_within(holder->type, "__s", short_at);
        if (!in_long || !in_short)
            continue;
        uint64_t pointer_at = long_at, length_at = long_at, text_at = short_at;
        const Field *pointer = find_within(in_long->type, "__data_", pointer_at);
        const Field *length = find_within(in_long->type, "__size_", length_at);
        const Field *text = find_within(in_short->type, "__data_", text_at);
        if (!pointer || !length || !text || this->type(pointer->type).kind != Kind::POINTER ||
            type.size != 24 || pointer_at != 16 || length_at != 8 || text_at != 1)
            continue;
        type.kind = Kind::STRING;
        type.element = this->type(pointer->type).element;
        type.pointer_at = pointer_at;
        type.length_at = length_at;
        type.holds_short = true;
        return true;
    }
    return false;
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
        if (buffer && length && record_name.starts_with("Vec<")) {
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
    if (record_name.starts_with("basic_string<") && find_libcxx_text(type))
        type.is_passed_by_address = true;
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

} // namespace native
