#include "relocation_types.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <set>
#include <unordered_map>
#include <vector>

#include "fd.h"

namespace {

constexpr const char *KERNEL = "/sys/kernel/btf/vmlinux";
// The ABI of .BTF.ext; libbpf has it in no header of its own.
constexpr size_t CORE_RELOCATIONS = 24;

struct BtfCloser {
    void operator()(btf *types) const { btf__free(types); }
    void operator()(btf_ext *extended) const { btf_ext__free(extended); }
};
using Btf = std::unique_ptr<btf, BtfCloser>;
using BtfExt = std::unique_ptr<btf_ext, BtfCloser>;

struct Malformed {};

class Bytes {
  public:
    Bytes(const void *data, size_t size) : data_(static_cast<const uint8_t *>(data)), size_(size) {}
    template <typename T> T at(size_t offset) const {
        T value;
        if (offset > size_ || size_ - offset < sizeof(T))
            throw Malformed{};
        std::memcpy(&value, data_ + offset, sizeof(T));
        return value;
    }
    Bytes part(size_t offset, size_t size) const {
        if (offset > size_ || size_ - offset < size)
            throw Malformed{};
        return {data_ + offset, size};
    }
    const uint8_t *data() const { return data_; }
    size_t size() const { return size_; }

  private:
    const uint8_t *data_;
    size_t size_;
};

// Versions of one type have names such as inode___new.
std::string without_flavor(const std::string &name) { return name.substr(0, name.find("___")); }

// Adds the names of the types that an object's relocations begin with.
void collect_names(const std::string &object, std::set<std::string> &names) {
    btf_ext *read = nullptr;
    Btf types(btf__parse_elf(object.c_str(), &read));
    BtfExt extended(read);
    if (!types || !extended)
        return;
    uint32_t size = 0;
    const void *data = btf_ext__get_raw_data(extended.get(), &size);
    Bytes all(data, size);
    auto header = all.at<uint32_t>(4);
    if (header < CORE_RELOCATIONS + 8)
        return;
    auto length = all.at<uint32_t>(CORE_RELOCATIONS + 4);
    if (length == 0)
        return;
    Bytes relocations = all.part(size_t{header} + all.at<uint32_t>(CORE_RELOCATIONS), length);
    auto record = relocations.at<uint32_t>(0);
    for (size_t at = 4; at < length;) {
        auto count = relocations.at<uint32_t>(at + 4);
        at += 8;
        for (uint32_t i = 0; i < count; i++, at += record) {
            auto type = relocations.at<bpf_core_relo>(at).type_id;
            const btf_type *root = btf__type_by_id(types.get(), type);
            const char *name =
                root != nullptr ? btf__name_by_offset(types.get(), root->name_off) : nullptr;
            if (name != nullptr && *name != '\0')
                names.insert(without_flavor(name));
        }
    }
}

// "go.awake.bpf.o" goes with "native.awake.bpf.o".
std::set<std::string> names_beside(const std::string &object) {
    std::set<std::string> names;
    std::filesystem::path path(object);
    std::string file = path.filename();
    std::string ending = file.substr(std::min(file.find('.'), file.size()));
    collect_names(object, names);
    std::error_code error;
    std::filesystem::directory_iterator entries(path.parent_path(), error), end;
    for (; !error && entries != end; entries.increment(error)) {
        std::string other = entries->path().filename();
        size_t dot = other.find('.');
        if (dot != std::string::npos && other.substr(dot) == ending && other != file)
            collect_names(entries->path(), names);
    }
    return names;
}

// BTF as the kernel has it, of which only types that are asked for are looked at.
class KernelTypes {
  public:
    explicit KernelTypes(const std::vector<char> &file) : all_(file.data(), file.size()) {
        auto header = all_.at<btf_header>(0);
        if (header.magic != BTF_MAGIC)
            throw Malformed{};
        types_ = all_.part(size_t{header.hdr_len} + header.type_off, header.type_len);
        strings_ = all_.part(size_t{header.hdr_len} + header.str_off, header.str_len);
        offsets_.push_back(0); // void
        for (size_t at = 0; at < types_.size();) {
            offsets_.push_back(at);
            at += sizeof(btf_type) + size_behind(types_.at<btf_type>(at));
        }
    }

    std::vector<uint32_t> named(const std::set<std::string> &names) const {
        std::set<uint32_t> wanted;
        for (const std::string &name : names) {
            // Between the ends of two strings; each is there once.
            std::string framed = std::string(1, '\0') + name + std::string(1, '\0');
            const void *found =
                memmem(strings_.data(), strings_.size(), framed.data(), framed.size());
            if (found != nullptr)
                wanted.insert(static_cast<const uint8_t *>(found) + 1 - strings_.data());
        }
        std::vector<uint32_t> ids;
        for (uint32_t id = 1; id < offsets_.size(); id++)
            if (wanted.count(type(id).name_off) != 0)
                ids.push_back(id);
        return ids;
    }

    btf_type type(uint32_t id) const { return types_.at<btf_type>(offset(id)); }
    template <typename T> T behind(uint32_t id, uint32_t index) const {
        return types_.at<T>(offset(id) + sizeof(btf_type) + index * sizeof(T));
    }
    const char *name(uint32_t offset) const {
        if (offset >= strings_.size() || strings_.data()[strings_.size() - 1] != '\0')
            throw Malformed{};
        return reinterpret_cast<const char *>(strings_.data()) + offset;
    }

  private:
    size_t offset(uint32_t id) const {
        if (id == 0 || id >= offsets_.size())
            throw Malformed{};
        return offsets_[id];
    }

    static size_t size_behind(const btf_type &type) {
        size_t count = BTF_INFO_VLEN(type.info);
        switch (BTF_INFO_KIND(type.info)) {
        case BTF_KIND_PTR:
        case BTF_KIND_FWD:
        case BTF_KIND_TYPEDEF:
        case BTF_KIND_VOLATILE:
        case BTF_KIND_CONST:
        case BTF_KIND_RESTRICT:
        case BTF_KIND_FUNC:
        case BTF_KIND_FLOAT:
        case BTF_KIND_TYPE_TAG:
            return 0;
        case BTF_KIND_INT:
        case BTF_KIND_VAR:
        case BTF_KIND_DECL_TAG:
            return sizeof(uint32_t);
        case BTF_KIND_ARRAY:
            return sizeof(struct btf_array);
        case BTF_KIND_STRUCT:
        case BTF_KIND_UNION:
            return count * sizeof(btf_member);
        case BTF_KIND_ENUM:
            return count * sizeof(struct btf_enum);
        case BTF_KIND_ENUM64:
            return count * sizeof(struct btf_enum64);
        case BTF_KIND_FUNC_PROTO:
            return count * sizeof(btf_param);
        case BTF_KIND_DATASEC:
            return count * sizeof(btf_var_secinfo);
        default:
            throw Malformed{};
        }
    }

    Bytes all_;
    Bytes types_{nullptr, 0}, strings_{nullptr, 0};
    std::vector<size_t> offsets_;
};

// Copies types with all that lies in them. What pointers lead to is left out: no relocation follows
// one.
class Selection {
  public:
    explicit Selection(const KernelTypes &from) : from_(from), own_(btf__new_empty()) {
        if (!own_)
            throw Malformed{};
    }

    uint32_t add(uint32_t id, int depth = 0) {
        if (id == 0)
            return 0;
        if (auto known = copies_.find(id); known != copies_.end())
            return known->second;
        if (depth > DEEPEST)
            throw Malformed{};
        uint32_t copy = checked(copied(id, depth));
        copies_.emplace(id, copy);
        return copy;
    }

    Bytes bytes() const {
        uint32_t size = 0;
        const void *data = btf__raw_data(own_.get(), &size);
        if (data == nullptr)
            throw Malformed{};
        return {data, size};
    }

  private:
    static constexpr int DEEPEST = 64;

    static int checked(int result) {
        if (result < 0)
            throw Malformed{};
        return result;
    }

    int copied(uint32_t id, int depth) {
        btf_type type = from_.type(id);
        btf *to = own_.get();
        const char *name = from_.name(type.name_off);
        uint32_t kind = BTF_INFO_KIND(type.info), count = BTF_INFO_VLEN(type.info);
        switch (kind) {
        case BTF_KIND_INT: {
            auto facts = from_.behind<uint32_t>(id, 0);
            return btf__add_int(to, name, type.size, BTF_INT_ENCODING(facts));
        }
        case BTF_KIND_FLOAT:
            return btf__add_float(to, name, type.size);
        case BTF_KIND_PTR:
            return btf__add_ptr(to, 0);
        case BTF_KIND_FWD:
            return btf__add_fwd(to, name,
                                BTF_INFO_KFLAG(type.info) ? BTF_FWD_UNION : BTF_FWD_STRUCT);
        case BTF_KIND_TYPEDEF:
            return btf__add_typedef(to, name, add(type.type, depth + 1));
        case BTF_KIND_CONST:
            return btf__add_const(to, add(type.type, depth + 1));
        case BTF_KIND_VOLATILE:
            return btf__add_volatile(to, add(type.type, depth + 1));
        case BTF_KIND_RESTRICT:
            return btf__add_restrict(to, add(type.type, depth + 1));
        case BTF_KIND_TYPE_TAG:
            return btf__add_type_tag(to, name, add(type.type, depth + 1));
        case BTF_KIND_ARRAY: {
            auto array = from_.behind<struct btf_array>(id, 0);
            int index = add(array.index_type, depth + 1);
            return btf__add_array(to, index, add(array.type, depth + 1), array.nelems);
        }
        case BTF_KIND_ENUM:
        case BTF_KIND_ENUM64:
            return copied_enum(id, type, name);
        case BTF_KIND_STRUCT:
        case BTF_KIND_UNION:
            return copied_composite(id, type, name, count, depth);
        default:
            // A function, as what is pointed to.
            return btf__add_ptr(to, 0);
        }
    }

    int copied_composite(uint32_t id, const btf_type &type, const char *name, uint32_t count,
                         int depth) {
        btf *to = own_.get();
        std::vector<uint32_t> members;
        // Before the type itself: its members are added right behind it.
        for (uint32_t i = 0; i < count; i++)
            members.push_back(add(from_.behind<btf_member>(id, i).type, depth + 1));
        int copy = BTF_INFO_KIND(type.info) == BTF_KIND_STRUCT
                       ? btf__add_struct(to, name, type.size)
                       : btf__add_union(to, name, type.size);
        for (uint32_t i = 0; i < count; i++) {
            auto member = from_.behind<btf_member>(id, i);
            bool has_bits = BTF_INFO_KFLAG(type.info);
            uint32_t at = has_bits ? BTF_MEMBER_BIT_OFFSET(member.offset) : member.offset;
            uint32_t bits = has_bits ? BTF_MEMBER_BITFIELD_SIZE(member.offset) : 0;
            checked(btf__add_field(to, from_.name(member.name_off), members[i], at, bits));
        }
        return copy;
    }

    int copied_enum(uint32_t id, const btf_type &type, const char *name) {
        btf *to = own_.get();
        bool is_64 = BTF_INFO_KIND(type.info) == BTF_KIND_ENUM64;
        int copy = is_64 ? btf__add_enum64(to, name, type.size, BTF_INFO_KFLAG(type.info))
                         : btf__add_enum(to, name, type.size);
        for (uint32_t i = 0; i < BTF_INFO_VLEN(type.info); i++) {
            if (is_64) {
                auto value = from_.behind<struct btf_enum64>(id, i);
                checked(btf__add_enum64_value(to, from_.name(value.name_off),
                                              uint64_t{value.val_hi32} << 32 | value.val_lo32));
            } else {
                auto value = from_.behind<struct btf_enum>(id, i);
                checked(btf__add_enum_value(to, from_.name(value.name_off), value.val));
            }
        }
        return copy;
    }

    const KernelTypes &from_;
    Btf own_;
    std::unordered_map<uint32_t, uint32_t> copies_;
};

std::vector<char> contents(const char *path) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    std::vector<char> all(file ? static_cast<size_t>(file.tellg()) : 0);
    file.seekg(0);
    if (!file.read(all.data(), static_cast<std::streamsize>(all.size())))
        throw Malformed{};
    return all;
}

std::string path_of(const Fd &file) { return "/proc/self/fd/" + std::to_string(file.get()); }

Fd make(const std::set<std::string> &names) {
    std::vector<char> file = contents(KERNEL);
    KernelTypes kernel(file);
    Selection selection(kernel);
    for (uint32_t id : kernel.named(names))
        selection.add(id);
    Bytes bytes = selection.bytes();
    Fd made(memfd_create("underspan-types", MFD_CLOEXEC));
    for (size_t done = 0; done < bytes.size();) {
        ssize_t count = write(made.get(), bytes.data() + done, bytes.size() - done);
        if (count <= 0)
            throw Malformed{};
        done += count;
    }
    // Where libbpf could not open it, as by a policy of the host, it has to do without.
    if (!Fd(open(path_of(made).c_str(), O_RDONLY | O_CLOEXEC)))
        throw Malformed{};
    return made;
}

} // namespace

std::string relocation_types_for(const std::string &object) {
    static std::mutex lock;
    static std::set<std::string> known;
    // Somebody may still be opening an older one by its path.
    static std::vector<Fd> made;
    std::lock_guard guard(lock);
    try {
        std::set<std::string> names;
        if (!made.empty())
            collect_names(object, names);
        else
            names = names_beside(object);
        if (!std::includes(known.begin(), known.end(), names.begin(), names.end()) ||
            made.empty()) {
            names.insert(known.begin(), known.end());
            made.push_back(make(names));
            known = names;
        }
        return path_of(made.back());
    } catch (const Malformed &) {
        return "";
    } catch (const std::bad_alloc &) {
        return "";
    }
}
