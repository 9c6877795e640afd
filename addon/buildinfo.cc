#include "buildinfo.h"

#include <elf.h>

#include "relocations.h"

// The format is that of debug/buildinfo in Go's standard library.
static constexpr std::string_view MAGIC("\xff Go buildinf:", 14);
static constexpr size_t HEADER_SIZE = 32;
static constexpr size_t ALIGNMENT = 16;
static constexpr uint8_t FLAG_BIG_ENDIAN = 1;
static constexpr uint8_t FLAG_INLINE = 2; // Go 1.18+: the strings follow the header
static constexpr size_t FRAME_SIZE = 16;  // before and after the text on modules
static constexpr uint64_t LARGEST = 16u << 20;

static std::optional<uint64_t> find_header_in(const ElfFile &elf, uint64_t start, uint64_t size) {
    Bytes data = elf.memory_up_to(start, std::min(size, LARGEST));
    for (uint64_t at = (ALIGNMENT - start % ALIGNMENT) % ALIGNMENT; at + HEADER_SIZE <= data.size();
         at += ALIGNMENT)
        if (memcmp(data.data() + at, MAGIC.data(), MAGIC.size()) == 0)
            return start + at;
    return std::nullopt;
}

// Address of the header. Without its section it stands near the start of some writable data.
static std::optional<uint64_t> find_header(const ElfFile &elf) {
    if (const Section *section = elf.section(".go.buildinfo"))
        return find_header_in(elf, section->address, section->size);
    if (!elf.sections().empty())
        return std::nullopt;
    for (const Segment &segment : elf.segments())
        if (segment.type == PT_LOAD && (segment.flags & PF_W))
            if (auto header = find_header_in(elf, segment.address, segment.file_size))
                return header;
    return std::nullopt;
}

static std::string to_string(const uint8_t *data, uint64_t size) {
    return {reinterpret_cast<const char *>(data), size};
}

static std::string inline_text(Cursor &cursor) {
    uint64_t size = cursor.uleb128();
    return to_string(cursor.take(size), size);
}

// A Go string by the address of its header.
static std::string text_at(const ElfFile &elf, const Relocations &relocations, uint64_t address) {
    std::vector<uint64_t> header = relocations.words(address, 2);
    if (header.empty() || header[1] > LARGEST)
        return "";
    std::optional<Bytes> text = elf.memory(header[0], header[1]);
    return text ? to_string(text->data(), text->size()) : "";
}

// Lines "mod", "dep" and "=>" (what takes the place of the dependency above it), tab-separated.
static void parse_modules(std::string_view text, BuildInfo &info) {
    std::string last;
    while (!text.empty()) {
        std::string_view line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(text.size(), line.size() + 1));
        std::string fields[3];
        for (std::string &field : fields) {
            size_t end = line.find('\t');
            field = line.substr(0, end);
            line.remove_prefix(end == std::string_view::npos ? line.size() : end + 1);
        }
        const auto &[kind, path, version] = fields;
        if (kind == "mod")
            info.main_module = path;
        if (kind == "mod" || kind == "dep") {
            info.modules[path] = version;
            last = path;
        } else if (kind == "=>" && !last.empty()) {
            // Replaced by a directory: some version that nobody knows.
            info.modules[last] = version.empty() ? "(devel)" : version;
        }
    }
}

std::optional<BuildInfo> read_build_info(const ElfFile &elf) {
    std::optional<uint64_t> address = find_header(elf);
    if (!address)
        return std::nullopt;
    Bytes data = elf.memory_up_to(*address, LARGEST);
    Cursor cursor(data);
    const uint8_t *header = cursor.take(HEADER_SIZE);
    uint8_t pointer_size = header[14];
    uint8_t flags = header[15];
    BuildInfo info;
    std::string modules;
    if (flags & FLAG_INLINE) {
        info.version = inline_text(cursor);
        modules = inline_text(cursor);
    } else if (pointer_size == 8 && !(flags & FLAG_BIG_ENDIAN)) {
        Relocations relocations(elf);
        info.version = text_at(elf, relocations, relocations.words(*address + 16, 1).at(0));
        modules = text_at(elf, relocations, relocations.words(*address + 24, 1).at(0));
    }
    if (info.version.empty())
        return std::nullopt;
    if (modules.size() > 2 * FRAME_SIZE && modules[modules.size() - FRAME_SIZE - 1] == '\n')
        parse_modules(std::string_view(modules).substr(FRAME_SIZE, modules.size() - 2 * FRAME_SIZE),
                      info);
    return info;
}
