#include "kernel_types.h"

#include <bpf/btf.h>

#include <memory>
#include <optional>
#include <sstream>

#include "errors.h"

namespace {

constexpr uint32_t REGISTERS = 6;
constexpr size_t LONGEST_PATH = 6; // MAX_VALUE_PATH
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
    } else {
        value.reason = "is neither a number nor a pointer";
    }
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
    if (type == nullptr)
        value.reason = "has a type that is not described";
    else
        describe(types, type, value);
}

void add_values(const Types &types, const std::vector<std::string> &functions, uint32_t function,
                const std::string &path, std::vector<KernelValue> &found) {
    int id = btf__find_by_name_kind(types.own.get(), functions[function].c_str(), BTF_KIND_FUNC);
    const btf_type *type = id > 0 ? types.at(id) : nullptr;
    const btf_type *prototype = type != nullptr ? types.at(type->type) : nullptr;
    if (prototype == nullptr || !btf_is_func_proto(prototype))
        return;
    std::string first = path.substr(0, path.find('.'));
    for (uint32_t i = 0; i < btf_vlen(prototype) && i < REGISTERS; i++) {
        const btf_param &parameter = btf_params(prototype)[i];
        const btf_type *plain = types.plain(parameter.type);
        // It takes as many registers as it has words, or none.
        if (plain == nullptr || btf_is_composite(plain))
            return;
        const char *text = btf__name_by_offset(types.own.get(), parameter.name_off);
        std::string name = text != nullptr ? text : "";
        if (name.empty() || (first != "*" && first != name))
            continue;
        KernelValue value{function, btf_vlen(prototype), first == "*" ? name : path, "", i};
        std::istringstream fields(path.size() > first.size() ? path.substr(first.size() + 1) : "");
        follow(types, parameter.type, fields, value);
        found.push_back(std::move(value));
    }
}

} // namespace

std::vector<KernelValue> kernel_values(const std::vector<std::string> &functions,
                                       const std::vector<std::string> &paths) {
    Types types;
    if (!types.own)
        throw failure_of("BPF_UNSUPPORTED", "Cannot read the types of the kernel", errno);
    std::vector<KernelValue> found;
    for (uint32_t i = 0; i < functions.size(); i++)
        for (const std::string &path : paths)
            add_values(types, functions, i, path, found);
    return found;
}
