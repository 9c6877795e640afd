#include "elf.h"

#include <elf.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "inflate.h"

// Number.MAX_SAFE_INTEGER + 1: addresses reach JavaScript as numbers.
static constexpr uint64_t ADDRESS_LIMIT = uint64_t{1} << 53;

void malformed(const std::string &what) { throw NativeFailure{"ELF_MALFORMED", what, 0, ""}; }

uint64_t Cursor::unsigned_of(unsigned size) {
    uint64_t value = 0;
    if (size > sizeof value)
        malformed("a number is too wide");
    memcpy(&value, take(size), size);
    return value;
}

int64_t Cursor::sleb128() {
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        uint8_t byte = u8();
        if (shift < 64)
            value |= static_cast<uint64_t>(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            if ((byte & 0x40) && shift + 7 < 64)
                value |= ~uint64_t{0} << (shift + 7);
            return static_cast<int64_t>(value);
        }
    }
}

std::string_view Cursor::text() {
    const uint8_t *start = data_ + at_;
    const void *end = left() > 0 ? memchr(start, 0, left()) : nullptr;
    if (!end)
        malformed("a name has no end");
    size_t length = static_cast<const uint8_t *>(end) - start;
    at_ += length + 1;
    return {reinterpret_cast<const char *>(start), length};
}

static NativeFailure unreadable(const std::string &what, int error_number) {
    return {"ELF_UNREADABLE", what + ": " + strerror(error_number), error_number, ""};
}

ElfFile::ElfFile(const std::string &path)
    // O_NONBLOCK: a named pipe must not hold us up.
    : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)) {
    if (!fd_)
        throw unreadable("Cannot open " + path, errno);
    read_headers(path);
}

ElfFile ElfFile::debug(Fd fd) {
    ElfFile elf;
    elf.fd_ = std::move(fd);
    elf.is_debug_ = true;
    elf.read_headers("the debug file");
    return elf;
}

ElfFile ElfFile::debug(Bytes content) {
    ElfFile elf;
    elf.content_ = std::move(content);
    elf.is_debug_ = true;
    elf.read_headers("the debug data");
    return elf;
}

static std::string stamp_of(const struct stat &status) {
    auto time = [](const timespec &at) {
        return std::to_string(at.tv_sec) + "." + std::to_string(at.tv_nsec);
    };
    return std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino) + " " +
           std::to_string(status.st_size) + " " + time(status.st_mtim) + " " + time(status.st_ctim);
}

void ElfFile::read_headers(const std::string &path) {
    struct stat status;
    if (!fd_) {
        size_ = content_.size();
    } else {
        if (fstat(fd_.get(), &status) != 0)
            throw unreadable("Cannot read " + path, errno);
        if (S_ISDIR(status.st_mode))
            throw unreadable("Cannot read " + path, EISDIR);
        if (!S_ISREG(status.st_mode))
            throw NativeFailure{"ELF_NOT_ELF", path + " is not a regular file", 0, ""};
        size_ = static_cast<uint64_t>(status.st_size);
        stamp_ = stamp_of(status);
    }

    uint8_t identity[EI_NIDENT] = {};
    read_exactly(0, identity, std::min<uint64_t>(size_, sizeof identity));
    if (memcmp(identity, ELFMAG, SELFMAG) != 0)
        throw NativeFailure{"ELF_NOT_ELF", path + " is not an ELF file", 0, ""};
    if (size_ >= EI_NIDENT) {
        if (identity[EI_CLASS] == ELFCLASS32)
            throw NativeFailure{"ELF_UNSUPPORTED", "it is a 32-bit program", 0, ""};
        if (identity[EI_DATA] == ELFDATA2MSB)
            throw NativeFailure{"ELF_UNSUPPORTED", "it is for a big-endian machine", 0, ""};
        if (identity[EI_CLASS] != ELFCLASS64 || identity[EI_DATA] != ELFDATA2LSB)
            malformed("its class or byte order does not exist");
    }
    if (size_ < sizeof(Elf64_Ehdr))
        malformed("it ends within its header");
    Elf64_Ehdr header;
    read_exactly(0, reinterpret_cast<uint8_t *>(&header), sizeof header);
    if (header.e_machine != EM_X86_64)
        throw NativeFailure{"ELF_UNSUPPORTED",
                            "it is for another machine (" + std::to_string(header.e_machine) + ")",
                            0, ""};
    if (header.e_type != ET_EXEC && header.e_type != ET_DYN)
        throw NativeFailure{"ELF_UNSUPPORTED", "it is neither a program nor a shared library", 0,
                            ""};
    position_independent_ = header.e_type == ET_DYN;

    // Counts that do not fit the header stand in the first section header (gABI, "ELF Header").
    uint64_t segment_count = header.e_phnum;
    uint64_t section_count = header.e_shnum;
    uint32_t names = header.e_shstrndx;
    if (header.e_shoff != 0 &&
        (section_count == 0 || segment_count == PN_XNUM || names == SHN_XINDEX)) {
        Bytes raw = read(header.e_shoff, sizeof(Elf64_Shdr));
        Elf64_Shdr first;
        memcpy(&first, raw.data(), sizeof first);
        if (section_count == 0)
            section_count = first.sh_size;
        if (segment_count == PN_XNUM)
            segment_count = first.sh_info;
        if (names == SHN_XINDEX)
            names = first.sh_link;
    }
    if (!is_debug_)
        read_segments(header.e_phoff, segment_count, header.e_phentsize);
    if (header.e_shoff != 0 && section_count > 0)
        read_sections(header.e_shoff, section_count, header.e_shentsize, names);
}

void ElfFile::read_exactly(uint64_t offset, uint8_t *out, uint64_t size) const {
    if (!fd_) {
        if (offset > content_.size() || size > content_.size() - offset)
            malformed("a table lies outside its debug data");
        if (size > 0)
            memcpy(out, content_.data() + offset, size);
        return;
    }
    while (size > 0) {
        ssize_t count = pread(fd_.get(), out, size, static_cast<off_t>(offset));
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            throw unreadable("Cannot read", errno);
        if (count == 0)
            malformed("it became shorter while it was read");
        out += count;
        offset += static_cast<uint64_t>(count);
        size -= static_cast<uint64_t>(count);
    }
}

Bytes ElfFile::read(uint64_t offset, uint64_t size) const {
    if (offset > size_ || size > size_ - offset)
        malformed("a table lies outside the file; it may be truncated");
    Bytes bytes(size);
    read_exactly(offset, bytes.data(), size);
    return bytes;
}

void ElfFile::read_segments(uint64_t offset, uint64_t count, uint16_t entry_size) {
    if (count == 0)
        return;
    if (entry_size != sizeof(Elf64_Phdr))
        malformed("its program headers have a wrong size");
    Bytes raw = read(offset, count * sizeof(Elf64_Phdr));
    for (uint64_t i = 0; i < count; i++) {
        Elf64_Phdr header;
        memcpy(&header, raw.data() + i * sizeof header, sizeof header);
        if (header.p_type == PT_NULL)
            continue;
        if (header.p_offset > size_ || header.p_filesz > size_ - header.p_offset)
            malformed("a segment lies outside the file; it may be truncated");
        if (header.p_vaddr >= ADDRESS_LIMIT || header.p_memsz >= ADDRESS_LIMIT ||
            header.p_vaddr + header.p_memsz > ADDRESS_LIMIT)
            malformed("a segment's address is too large");
        if (header.p_type == PT_LOAD && header.p_filesz > header.p_memsz)
            malformed("a segment is larger in the file than in memory");
        segments_.push_back({header.p_type, header.p_flags, header.p_offset, header.p_vaddr,
                             header.p_filesz, header.p_memsz, header.p_align});
    }
}

void ElfFile::read_sections(uint64_t offset, uint64_t count, uint16_t entry_size, uint32_t names) {
    if (entry_size != sizeof(Elf64_Shdr))
        malformed("its section headers have a wrong size");
    if (count > size_ / sizeof(Elf64_Shdr))
        malformed("its section headers lie outside the file; it may be truncated");
    Bytes raw = read(offset, count * sizeof(Elf64_Shdr));
    std::vector<uint32_t> name_offsets;
    for (uint64_t i = 0; i < count; i++) {
        Elf64_Shdr header;
        memcpy(&header, raw.data() + i * sizeof header, sizeof header);
        sections_.push_back({"", header.sh_type, header.sh_flags, header.sh_addr, header.sh_offset,
                             header.sh_size, header.sh_link});
        name_offsets.push_back(header.sh_name);
    }
    if (names == SHN_UNDEF)
        return;
    if (names >= count)
        malformed("its section names are missing");
    Bytes table = contents(sections_[names]);
    constexpr size_t LONGEST_NAME = 256;
    for (uint64_t i = 0; i < count; i++) {
        if (name_offsets[i] >= table.size())
            malformed("a section's name lies outside the names");
        const char *name = reinterpret_cast<const char *>(table.data()) + name_offsets[i];
        size_t most = std::min(table.size() - name_offsets[i], LONGEST_NAME);
        sections_[i].name.assign(name, strnlen(name, most));
    }
}

const Section *ElfFile::section(std::string_view name) const {
    for (const Section &section : sections_)
        if (section.name == name && section.type != SHT_NOBITS && section.type != SHT_NULL &&
            section.size > 0)
            return &section;
    return nullptr;
}

const Section *ElfFile::section_of_type(uint32_t type) const {
    for (const Section &section : sections_)
        if (section.type == type && section.size > 0)
            return &section;
    return nullptr;
}

Bytes ElfFile::contents(const Section &section) const {
    return section.type == SHT_NOBITS ? Bytes() : read(section.offset, section.size);
}

bool ElfFile::has_debug_section(std::string_view name) const {
    return section(".debug_" + std::string(name)) || section(".zdebug_" + std::string(name));
}

Bytes ElfFile::debug_section(std::string_view name) const {
    if (const Section *found = section(".debug_" + std::string(name))) {
        Bytes raw = contents(*found);
        if (!(found->flags & SHF_COMPRESSED))
            return raw;
        Cursor cursor(raw);
        auto header = cursor.number<Elf64_Chdr>();
        if (header.ch_type != ELFCOMPRESS_ZLIB)
            return {};
        return inflate_all(raw.data() + cursor.at(), cursor.left(), header.ch_size);
    }
    // Before SHF_COMPRESSED (Go up to 1.18): "ZLIB", then the size, big-endian.
    if (const Section *found = section(".zdebug_" + std::string(name))) {
        Bytes raw = contents(*found);
        Cursor cursor(raw);
        if (memcmp(cursor.take(4), "ZLIB", 4) != 0)
            malformed("a compressed section has no header");
        uint64_t size = __builtin_bswap64(cursor.u64());
        return inflate_all(raw.data() + cursor.at(), cursor.left(), size);
    }
    return {};
}

const Segment *ElfFile::segment_with(uint64_t address, uint64_t size) const {
    for (const Segment &segment : segments_)
        if (segment.type == PT_LOAD && address >= segment.address &&
            address - segment.address <= segment.file_size &&
            size <= segment.file_size - (address - segment.address))
            return &segment;
    return nullptr;
}

std::optional<Bytes> ElfFile::memory(uint64_t address, uint64_t size) const {
    const Segment *segment = segment_with(address, size);
    if (!segment)
        return std::nullopt;
    return read(segment->offset + (address - segment->address), size);
}

Bytes ElfFile::memory_up_to(uint64_t address, uint64_t limit) const {
    const Segment *segment = segment_with(address, 1);
    if (!segment)
        return {};
    uint64_t skipped = address - segment->address;
    return read(segment->offset + skipped, std::min(limit, segment->file_size - skipped));
}

bool ElfFile::is_code(uint64_t address) const {
    const Segment *segment = segment_with(address, 1);
    return segment && (segment->flags & PF_X);
}

static std::optional<std::string> build_id_in(const Bytes &notes) {
    Cursor cursor(notes);
    while (cursor.left() >= 12) {
        uint64_t name_size = cursor.u32();
        uint64_t content_size = cursor.u32();
        uint32_t type = cursor.u32();
        uint64_t padded_name = (name_size + 3) & ~uint64_t{3};
        uint64_t padded_content = (content_size + 3) & ~uint64_t{3};
        // A note that is cut off says nothing; it is no reason to refuse the program.
        if (padded_name > cursor.left() || content_size > cursor.left() - padded_name)
            break;
        const uint8_t *name = cursor.take(padded_name);
        const uint8_t *content = cursor.take(std::min(padded_content, cursor.left()));
        if (type != NT_GNU_BUILD_ID || name_size != 4 || memcmp(name, "GNU", 4) != 0)
            continue;
        static const char digits[] = "0123456789abcdef";
        std::string hex;
        for (uint64_t i = 0; i < content_size && i < 64; i++) {
            hex += digits[content[i] >> 4];
            hex += digits[content[i] & 15];
        }
        return hex;
    }
    return std::nullopt;
}

std::optional<std::string> ElfFile::build_id() const {
    for (const Segment &segment : segments_)
        if (segment.type == PT_NOTE)
            if (auto id = build_id_in(read(segment.offset, segment.file_size)))
                return id;
    // Go's own linker has no segment for this note.
    if (const Section *note = section(".note.gnu.build-id"))
        return build_id_in(contents(*note));
    return std::nullopt;
}

const Segment *ElfFile::segment_of_type(uint32_t type) const {
    for (const Segment &segment : segments_)
        if (segment.type == type)
            return &segment;
    return nullptr;
}

std::optional<std::string> ElfFile::interpreter() const {
    const Segment *segment = segment_of_type(PT_INTERP);
    // The kernel takes no longer path either (PATH_MAX).
    if (!segment || segment->file_size < 2 || segment->file_size > 4096)
        return std::nullopt;
    Bytes path = read(segment->offset, segment->file_size);
    return std::string(reinterpret_cast<const char *>(path.data()),
                       strnlen(reinterpret_cast<const char *>(path.data()), path.size()));
}

std::string ElfFile::location() const {
    char target[PATH_MAX];
    std::string link = "/proc/self/fd/" + std::to_string(fd_.get());
    ssize_t length = fd_ ? readlink(link.c_str(), target, sizeof target) : -1;
    return length > 0 ? std::string(target, static_cast<size_t>(length)) : std::string();
}
