// Types of C, C++ and Rust as DWARF describes them, each by the offset of its entry, since their
// names are not unique.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "dwarf.h"
#include "dwarf_types.h"

namespace native {

enum class Kind : uint8_t {
    UNKNOWN, // `problem` says why
    VOID,
    BOOL,
    INT,
    UINT,
    FLOAT,
    COMPLEX,
    CHAR, // of text: char, char8_t, Rust's char
    POINTER,
    REFERENCE, // a pointer that stands for what it points to
    STRUCT,
    UNION,
    ARRAY,
    ENUM,
    VARIANT, // Rust's enum with data
    STRING,  // a record that holds a pointer to text, and its length
    SLICE,   // the same with elements
    FUNCTION,
};

const char *kind_name(Kind kind);

inline constexpr uint64_t NO_TYPE = UINT64_MAX; // void
inline constexpr uint64_t ELSEWHERE = 0;        // in a file or section that is not read

// const, volatile, a typedef: what leads to the type itself.
inline bool is_qualifier(uint16_t tag) {
    return tag == dwarf::TAG_TYPEDEF || tag == dwarf::TAG_CONST || tag == dwarf::TAG_VOLATILE ||
           tag == dwarf::TAG_RESTRICT || tag == dwarf::TAG_ATOMIC;
}

struct Field {
    std::string name;
    uint64_t type = ELSEWHERE;
    uint64_t offset = 0;
    bool embedded = false; // a base class, or an unnamed member
    // Of a field of bits, from the lowest one of the byte at `offset`; `bit_size` 0: a whole one.
    uint8_t bit_offset = 0;
    uint8_t bit_size = 0;
};

struct Variant {
    std::string name;
    std::optional<uint64_t> value; // of the discriminant; nothing: all others
    uint64_t type = ELSEWHERE;
    uint64_t offset = 0;
};

struct Type {
    uint64_t id = ELSEWHERE;
    std::string name;
    Kind kind = Kind::UNKNOWN;
    uint64_t size = 0;
    uint64_t alignment = 0; // as declared; 0: the usual
    bool is_rust = false;
    bool is_signed = false; // ENUM
    bool is_vector = false; // ARRAY: a SIMD register
    // C++: it has a copy constructor or a destructor of its own.
    bool is_passed_by_address = false;
    std::optional<uint64_t> element;
    std::optional<uint64_t> count;
    std::vector<Field> fields;
    std::vector<std::pair<std::string, uint64_t>> names; // ENUM
    std::optional<Field> discriminant;                   // VARIANT
    std::vector<Variant> variants;
    uint64_t pointer_at = 0; // STRING, SLICE
    uint64_t length_at = 0;
    bool holds_short = false; // STRING: libc++'s, in which short text lies itself
    std::string problem;
};

class TypeReader {
  public:
    explicit TypeReader(const dwarf::Reader &reader) : reader_(reader) {}

    // By its entry's offset; what is no entry of a type is UNKNOWN.
    const Type &type(uint64_t id);
    // The type of a member or parameter.
    uint64_t type_of(const dwarf::Entry &entry) const;
    // "std::io::error::Error": with what it is declared in.
    std::string qualified_name(uint64_t id);
    const dwarf::Reader &reader() const { return reader_; }

  private:
    Type read(uint64_t id);
    void read_entry(const dwarf::Entry &entry, Type &type);
    void read_record(const dwarf::Entry &entry, Type &type);
    void read_member(const dwarf::Entry &member, Type &type);
    bool place_bits(const dwarf::Entry &member, uint64_t at, Field &field);
    void read_method(const dwarf::Entry &method, std::string_view record, Type &type);
    void read_variants(uint64_t part, Type &type);
    void read_enum(const dwarf::Entry &entry, Type &type);
    void find_text(Type &type, std::string_view record_name, uint64_t parameter);
    const Field *find_within(uint64_t type, std::string_view name, uint64_t &offset,
                             unsigned depth = 0);
    bool find_libcxx_text(Type &type);
    std::optional<uint64_t> pointer_within(uint64_t type, unsigned depth);
    std::string name_of(uint64_t id, unsigned depth);
    std::optional<uint64_t> definition_of(uint64_t declaration);
    void index_definitions();

    const dwarf::Reader &reader_;
    std::unordered_map<uint64_t, Type> known_;
    // By qualified name; made when a type is met that is only declared.
    std::optional<std::unordered_map<std::string, uint64_t>> definitions_;
    unsigned depth_ = 0;
};

} // namespace native
