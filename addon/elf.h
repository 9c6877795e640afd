// 64-bit little-endian ELF files, read with pread and checked at every step: the file belongs to
// the target, may be hostile, and may be cut short while it is read (which would kill a reader
// that has it mapped).
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fd.h"

using Bytes = std::vector<uint8_t>;

[[noreturn]] void malformed(const std::string &what);

// A walk through bytes that never leaves them: whoever reads past the end gets ELF_MALFORMED.
class Cursor {
  public:
    Cursor(const uint8_t *data, size_t size, uint64_t at = 0) : data_(data), size_(size), at_(at) {
        if (at > size)
            malformed("an offset lies outside its table");
    }
    explicit Cursor(const Bytes &bytes, uint64_t at = 0) : Cursor(bytes.data(), bytes.size(), at) {}

    uint64_t at() const { return at_; }
    uint64_t left() const { return size_ - at_; }

    const uint8_t *take(uint64_t count) {
        if (count > left())
            malformed("a table ends too early");
        const uint8_t *start = data_ + at_;
        at_ += count;
        return start;
    }
    void skip(uint64_t count) { take(count); }

    template <typename Number> Number number() {
        Number value;
        memcpy(&value, take(sizeof value), sizeof value);
        return value;
    }
    uint8_t u8() { return *take(1); }
    uint16_t u16() { return number<uint16_t>(); }
    uint32_t u32() { return number<uint32_t>(); }
    uint64_t u64() { return number<uint64_t>(); }
    uint64_t unsigned_of(unsigned size);
    uint64_t uleb128() {
        uint64_t value = 0;
        for (unsigned shift = 0;; shift += 7) {
            uint8_t byte = u8();
            if (shift < 64)
                value |= static_cast<uint64_t>(byte & 0x7f) << shift;
            if (!(byte & 0x80))
                return value;
        }
    }
    int64_t sleb128();
    // Up to its terminating zero, which is passed over.
    std::string_view text();

  private:
    const uint8_t *data_;
    uint64_t size_;
    uint64_t at_;
};

struct Segment {
    uint32_t type = 0;
    uint32_t flags = 0;
    uint64_t offset = 0;
    uint64_t address = 0;
    uint64_t file_size = 0;
    uint64_t memory_size = 0;
    uint64_t alignment = 0;
};

struct Section {
    std::string name;
    uint32_t type = 0;
    uint64_t flags = 0;
    uint64_t address = 0;
    uint64_t offset = 0;
    uint64_t size = 0;
    uint32_t link = 0;
};

class ElfFile {
  public:
    // Throws ELF_UNREADABLE, ELF_NOT_ELF, ELF_MALFORMED or ELF_UNSUPPORTED.
    explicit ElfFile(const std::string &path);
    // A file, or the content of one, that holds symbols and debug information of another: it has
    // the other's segments without their content, which are not taken over.
    static ElfFile debug(Fd fd);
    static ElfFile debug(Bytes content);

    const std::vector<Segment> &segments() const { return segments_; }
    const std::vector<Section> &sections() const { return sections_; }
    bool position_independent() const { return position_independent_; }
    // The first with content of this name; null if there is none.
    const Section *section(std::string_view name) const;
    const Section *section_of_type(uint32_t type) const;
    // In hex.
    std::optional<std::string> build_id() const;
    // The dynamic loader that it asks for.
    std::optional<std::string> interpreter() const;
    const Segment *segment_of_type(uint32_t type) const;

    Bytes read(uint64_t offset, uint64_t size) const;
    // As it stands in the file, still compressed where it is.
    Bytes contents(const Section &section) const;
    // .debug_NAME or .zdebug_NAME, decompressed; empty if it is missing or cannot be read here.
    Bytes debug_section(std::string_view name) const;
    bool has_debug_section(std::string_view name) const;

    // The segment whose bytes in the file hold [address, address + size).
    const Segment *segment_with(uint64_t address, uint64_t size) const;
    std::optional<Bytes> memory(uint64_t address, uint64_t size) const;
    // No more than `limit` bytes from `address` to the end of its segment's bytes in the file.
    Bytes memory_up_to(uint64_t address, uint64_t limit) const;
    bool is_code(uint64_t address) const;
    // Where the file is, as the kernel says it; empty if it cannot.
    std::string location() const;
    uint64_t size() const { return size_; }
    // Tells the file from any other, and from itself once it was written to.
    const std::string &stamp() const { return stamp_; }

  private:
    ElfFile() = default;
    void read_headers(const std::string &path);
    void read_exactly(uint64_t offset, uint8_t *out, uint64_t size) const;
    void read_segments(uint64_t offset, uint64_t count, uint16_t entry_size);
    void read_sections(uint64_t offset, uint64_t count, uint16_t entry_size, uint32_t names);

    Fd fd_;
    Bytes content_; // where there is no file
    uint64_t size_ = 0;
    std::string stamp_;
    bool is_debug_ = false;
    bool position_independent_ = false;
    std::vector<Segment> segments_;
    std::vector<Section> sections_;
};
