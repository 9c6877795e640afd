#include "kernel_types.h"

#include <bpf/btf.h>

#include <memory>
#include <optional>
#include <sstream>

#include "errors.h"

namespace {

constexpr uint32_t REGISTERS = 6;
constexpr size_t LONGEST_PATH = 6;           // MAX_VALUE_PATH
constexpr uint32_t LONGEST_CHARACTERS = 256; // MAX_VALUE_BYTES
constexpr int DEEPEST = 32;

struct Types {
    struct Closer {
        void operator()(btf *types) const { btf__free(types); }
    };
    std::unique_ptr<btf, Closer> own{btf__load_vmlinux_btf()};

    const btf_type *at(uint32_t id) const { return btf__type_by_id(own.get(), id); }
    std::string name(const btf_type *type) const {
        const char *text = btf__name_by_offset(own.get(), type->name_off);
        return text != nullptr ? text : "";
    }
    // Without typedefs and qualifiers.
    const btf_type *plain(uint32_t id) const {
        const btf_type *type = at(id);
        for (int i = 0; type != nullptr && i < DEEPEST; i++) {
            if (!btf_is_mod(type) && !btf_is_typedef(type))
                return type;
            type = at(type->type);
        }
        return nullptr;
    }
};

struct Member {
    uint32_t offset;
    uint32_t type;
};

// Also within members that have no name. Fields of bits have no address.
std::optional<Member> find_member(const Types &types, const btf_type *within,
                                  const std::string &name, int depth = 0) {
    const btf_member *members = btf_members(within);
    for (uint32_t i = 0; i < btf_vlen(within) && depth < DEEPEST; i++) {
        uint32_t bits = btf_member_bit_offset(within, i);
        const char *called = btf__name_by_offset(types.own.get(), members[i].name_off);
        if (called != nullptr && name == called) {
            if (btf_member_bitfield_size(within, i) != 0)
                return std::nullopt;
            return Member{bits / 8, members[i].type};
        }
        const btf_type *inner = types.plain(members[i].type);
        if (called != nullptr && *called != '\0')
            continue;
        if (inner == nullptr || !btf_is_composite(inner))
            continue;
        if (auto found = find_member(types, inner, name, depth + 1))
            return Member{bits / 8 + found->offset, found->type};
    }
    return std::nullopt;
}

// A `const char *` is text. One that is not const is as often a place for bytes to come, and one to
// u8 is bytes.
bool is_text(const Types &types, const btf_type *pointer) {
    const btf_type *type = types.at(pointer->type);
    bool constant = false;
    for (int i = 0; type != nullptr && i < DEEPEST && btf_is_mod(type); i++) {
        constant = constant || btf_is_const(type);
        type = types.at(type->type);
    }
    if (!constant || type == nullptr || !btf_is_int(type) || type->size != 1)
        return false;
    std::string name = types.name(type);
    return name == "char" || name == "unsigned char";
}

bool is_characters(const Types &types, const btf_type *type) {
    if (!btf_is_array(type) || btf_array(type)->nelems == 0 ||
        btf_array(type)->nelems > LONGEST_CHARACTERS)
        return false;
    const btf_type *element = types.at(btf_array(type)->type);
    return element != nullptr && btf_is_int(element) && element->size == 1 &&
           types.name(element) == "char";
}

void describe(const Types &types, const btf_type *type, KernelValue &value) {
    value.type = types.name(type);
    value.size = type->size;
    if (btf_is_ptr(type)) {
        value.kind = "pointer";
        value.size = 8;
        value.type = "pointer";
    } else if (btf_is_int(type)) {
        uint8_t encoding = btf_int_encoding(type);
        value.kind = encoding & BTF_INT_BOOL ? "bool" : encoding & BTF_INT_SIGNED ? "int" : "uint";
    } else if (btf_is_any_enum(type)) {
        value.kind = "int";
    } else if (!value.steps.empty() && is_characters(types, type)) {
        value.kind = "characters";
        value.size = btf_array(type)->nelems;
    } else {
        value.reason = "is neither a number, nor a pointer, nor text";
    }
}

// The name of a file, as system calls hand it down: struct filename *.
void follow_name(const Types &types, const btf_type *pointer, KernelValue &value) {
    const btf_type *type = btf_is_ptr(pointer) ? types.plain(pointer->type) : nullptr;
    if (type == nullptr || !btf_is_struct(type) || types.name(type) != "filename" ||
        value.steps.size() >= LONGEST_PATH)
        return;
    auto name = find_member(types, type, "name");
    const btf_type *text = name ? types.plain(name->type) : nullptr;
    if (text == nullptr || !btf_is_ptr(text) || !is_text(types, text))
        return;
    value.steps.push_back(0);
    value.steps.back() += name->offset;
    value.kind = "text";
}

// Follows the fields behind an argument.
void follow(const Types &types, uint32_t id, std::istringstream &fields, KernelValue &value) {
    const btf_type *type = types.plain(id);
    for (std::string field; type != nullptr && std::getline(fields, field, '.');) {
        if (btf_is_ptr(type)) {
            type = types.plain(type->type);
            value.steps.push_back(0);
        }
        if (type == nullptr || !btf_is_composite(type) || value.steps.empty() ||
            value.steps.size() > LONGEST_PATH) {
            value.reason = "has no field " + field;
            return;
        }
        auto member = find_member(types, type, field);
        if (!member) {
            value.reason = "has no field " + field + " with an address of its own";
            return;
        }
        value.steps.back() += member->offset;
        type = types.plain(member->type);
    }
    if (type == nullptr) {
        value.reason = "has a type that is not described";
        return;
    }
    describe(types, type, value);
    if (btf_is_ptr(type) && is_text(types, type))
        value.kind = "text";
    follow_name(types, type, value);
}

// All of it in registers of one word each; NULL: not known, or it is not so.
const btf_type *prototype_of(const Types &types, const std::string &function) {
    int id = btf__find_by_name_kind(types.own.get(), function.c_str(), BTF_KIND_FUNC);
    const btf_type *type = id > 0 ? types.at(id) : nullptr;
    const btf_type *prototype = type != nullptr ? types.at(type->type) : nullptr;
    if (prototype == nullptr || !btf_is_func_proto(prototype))
        return nullptr;
    for (uint32_t i = 0; i < btf_vlen(prototype); i++) {
        const btf_type *plain = types.plain(btf_params(prototype)[i].type);
        // It takes as many registers as it has words, or none.
        if (plain == nullptr || btf_is_composite(plain))
            return nullptr;
    }
    return prototype;
}

void add_arguments(const Types &types, const btf_type *prototype, uint32_t function,
                   const std::string &path, std::vector<KernelValue> &found) {
    std::string first = path.substr(0, path.find('.'));
    for (uint32_t i = 0; i < btf_vlen(prototype) && i < REGISTERS; i++) {
        const btf_param &parameter = btf_params(prototype)[i];
        const char *text = btf__name_by_offset(types.own.get(), parameter.name_off);
        std::string name = text != nullptr ? text : "";
        if (name.empty() || (first != "*" && first != name && first != std::to_string(i)))
            continue;
        KernelValue value{function, btf_vlen(prototype), first == "*" ? name : path, "", i};
        std::istringstream fields(path.size() > first.size() ? path.substr(first.size() + 1) : "");
        follow(types, parameter.type, fields, value);
        // Much of what is told of text lies in the program's memory, and is asked for by name.
        if (first == "*" && value.kind == "text") {
            value.kind = "pointer";
            value.steps.clear();
        }
        found.push_back(std::move(value));
    }
}

// It may have any of them.
void add_unknown(uint32_t function, const std::vector<std::string> &paths,
                 std::vector<KernelValue> &found) {
    for (const std::string &path : paths)
        if (path != "*")
            found.push_back({function, 0, path,
                             "has no description in the types of the kernel, which leave out "
                             "modules and copies that the compiler has made"});
}

void add_result(const Types &types, const btf_type *prototype, uint32_t function,
                std::vector<KernelValue> &found) {
    const btf_type *type = prototype->type != 0 ? types.plain(prototype->type) : nullptr;
    if (type == nullptr)
        return;
    KernelValue value{function, btf_vlen(prototype), "", ""};
    describe(types, type, value);
    if (value.reason.empty())
        found.push_back(std::move(value));
}

} // namespace

std::vector<KernelValue> kernel_values(const std::vector<std::string> &functions,
                                       const std::vector<std::string> &paths, bool results) {
    Types types;
    if (!types.own)
        throw failure_of("BPF_UNSUPPORTED", "Cannot read the types of the kernel", errno);
    std::vector<KernelValue> found;
    for (uint32_t i = 0; i < functions.size(); i++) {
        const btf_type *prototype = prototype_of(types, functions[i]);
        if (prototype == nullptr) {
            add_unknown(i, paths, found);
            continue;
        }
        for (const std::string &path : paths)
            add_arguments(types, prototype, i, path, found);
        if (results)
            add_result(types, prototype, i, found);
    }
    return found;
}
