// The type descriptors that a Go program carries for its own runtime (internal/abi/type.go). They
// survive stripping, and from Go 1.27 on they are all that tells of itabs.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "elf.h"
#include "relocations.h"

// reflect.Kind.
enum class GoKind : uint8_t {
    BOOL = 1,
    INT = 2,
    INT64 = 6,
    UINT = 7,
    UINTPTR = 12,
    FLOAT32 = 13,
    FLOAT64 = 14,
    COMPLEX64 = 15,
    COMPLEX128 = 16,
    ARRAY = 17,
    CHAN = 18,
    FUNC = 19,
    INTERFACE = 20,
    MAP = 21,
    POINTER = 22,
    SLICE = 23,
    STRING = 24,
    STRUCT = 25,
    UNSAFE_POINTER = 26,
};

class GoTypes {
  public:
    struct Field {
        std::string name;
        uint64_t type;
        uint64_t offset;
        bool embedded;
    };
    struct Itab {
        uint64_t address;
        uint64_t interface;
        uint64_t type;
    };
    struct Signature {
        std::vector<uint64_t> parameters;
        std::vector<uint64_t> results;
    };
    struct Method {
        uint64_t receiver; // type
        std::string name;
        uint64_t function;  // type, without the receiver
        uint64_t code;      // called with the receiver itself
        uint64_t interface; // called through an interface, with a word for the receiver
    };

    // `module_data`: address of runtime.firstmoduledata. Nothing where its layout cannot be
    // confirmed.
    static std::optional<GoTypes> load(const ElfFile &elf, uint64_t module_data);

    // Every type that can be reached, by address.
    const std::vector<uint64_t> &all() const { return all_; }
    const std::vector<Itab> &itabs() const { return itabs_; }

    bool is_type(uint64_t type) const;
    // With full package paths, as DWARF has it: "[]*net/http.Request".
    std::string name(uint64_t type) const;
    std::optional<uint64_t> find(const std::string &name) const;
    GoKind kind(uint64_t type) const;
    uint64_t size(uint64_t type) const;
    uint64_t alignment(uint64_t type) const;
    // Of a pointer, slice, array, channel or map.
    std::optional<uint64_t> element(uint64_t type) const;
    std::optional<uint64_t> key(uint64_t type) const;
    uint64_t count(uint64_t type) const; // of an array
    std::vector<Field> fields(uint64_t type) const;
    std::vector<std::string> interface_methods(uint64_t type) const;
    Signature signature(uint64_t function) const;
    std::vector<Method> methods() const;

  private:
    struct Layout {
        // Words of runtime.moduledata.
        unsigned types, types_end, type_links, itab_links;
        // From Go 1.27: lengths in place of the links.
        unsigned descriptors, itab_offset;
    };
    static const Layout LAYOUTS[];

    GoTypes() = default;
    bool read_module(const ElfFile &elf, const Relocations &relocations, uint64_t module_data,
                     const Layout &layout);
    bool read_links(const ElfFile &elf, const Relocations &relocations,
                    const std::vector<uint64_t> &words);
    bool walk_descriptors(uint64_t size);
    void walk_itabs(uint64_t address, uint64_t size);
    void reach_all();
    bool has_shifted_offsets() const;

    bool has(uint64_t address, uint64_t size) const;
    Cursor at(uint64_t address) const;
    uint64_t word(uint64_t address) const;
    uint8_t flags(uint64_t type) const;
    std::optional<uint64_t> base_size(uint64_t type) const;
    std::optional<uint64_t> uncommon(uint64_t type) const;
    std::optional<uint64_t> type_at(uint64_t address) const;
    std::optional<uint64_t> offset_type(uint32_t offset) const;
    std::string text(uint64_t name) const;
    std::string text_of(uint32_t offset) const { return text(types_ + offset); }
    std::string make_name(uint64_t type, unsigned depth) const;
    std::string name_within(uint64_t type, unsigned depth) const;
    std::string short_name(uint64_t type) const;
    std::string named(uint64_t type) const;
    std::string list(const std::vector<uint64_t> &types, unsigned depth) const;

    const Layout *layout_ = nullptr;
    bool shifted_ = false; // Go 1.18: struct offsets are one bit up
    uint64_t text_ = 0;
    uint64_t types_ = 0;
    Bytes region_; // from types_ on, relocated
    std::vector<uint64_t> all_;
    std::vector<Itab> itabs_;
    mutable size_t parts_ = 0; // of the name that is being made
    mutable std::unordered_map<uint64_t, std::string> names_;
    mutable std::unordered_map<std::string, uint64_t> by_name_;
};
