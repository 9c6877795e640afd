#include "pclntab.h"

#include <elf.h>

#include <algorithm>

// internal/abi/symtab.go and runtime/symtab.go (pcHeader, _func, moduledata) in Go's source.
static constexpr uint32_t MAGIC_GO_1_16 = 0xfffffffa;
static constexpr uint32_t MAGIC_GO_1_18 = 0xfffffff0;
static constexpr uint32_t MAGIC_GO_1_20 = 0xfffffff1;
static constexpr size_t LARGEST_HEADER = 72;
static constexpr size_t LONGEST_NAME = 64u << 10;
static constexpr uint64_t SEARCH_STEP = 4u << 20;
static constexpr uint32_t ARGUMENTS_UNKNOWN = 0x80000000;

// 32-bit fields of _func, after its entry.
enum { NAME = 0, ARGUMENTS = 1, FILE_VALUES = 4, LINE_VALUES = 5, UNIT = 7 };

static bool is_header(const uint8_t *data) {
    uint32_t magic;
    memcpy(&magic, data, sizeof magic);
    bool known = magic == MAGIC_GO_1_16 || magic == MAGIC_GO_1_18 || magic == MAGIC_GO_1_20;
    // Two zeros, the instructions' granularity (1 on x86), the size of a pointer.
    return known && data[4] == 0 && data[5] == 0 && data[6] == 1 && data[7] == 8;
}

static const Section *table_section(const ElfFile &elf) {
    for (const char *name : {".gopclntab", ".data.rel.ro.gopclntab"})
        if (const Section *section = elf.section(name))
            return section;
    return nullptr;
}

bool Pclntab::has_section(const ElfFile &elf) { return table_section(elf) != nullptr; }

std::optional<Pclntab> Pclntab::load(const ElfFile &elf, bool search) {
    Pclntab table;
    if (const Section *section = table_section(elf)) {
        table.address_ = section->address;
        table.data_ = elf.contents(*section);
        if (!table.parse_header())
            malformed("its pclntab has an unknown format");
        table.find_functions(elf);
        return table;
    }
    if (!search)
        return std::nullopt;
    for (const Segment &segment : elf.segments()) {
        if (segment.type != PT_LOAD)
            continue;
        for (uint64_t done = 0; done < segment.file_size; done += SEARCH_STEP) {
            uint64_t size = std::min(SEARCH_STEP + LARGEST_HEADER, segment.file_size - done);
            Bytes window = elf.read(segment.offset + done, size);
            for (uint64_t at = 0; at + 8 <= window.size() && at < SEARCH_STEP; at += 8) {
                if (!is_header(window.data() + at))
                    continue;
                table.address_ = segment.address + done + at;
                table.data_ = elf.memory_up_to(table.address_, UINT64_MAX);
                if (!table.parse_header())
                    continue;
                table.find_functions(elf);
                return table;
            }
        }
    }
    return std::nullopt;
}

// False: not a header.
bool Pclntab::parse_header() {
    if (data_.size() < LARGEST_HEADER || !is_header(data_.data()))
        return false;
    Cursor cursor(data_);
    pointers_ = cursor.u32() == MAGIC_GO_1_16;
    cursor.skip(4);
    function_count_ = cursor.u64();
    cursor.skip(8); // number of files
    header_text_ = pointers_ ? 0 : cursor.u64();
    for (uint64_t *part : {&names_, &units_, &files_, &values_, &table_}) {
        *part = cursor.u64();
        if (*part > data_.size())
            return false;
    }
    uint64_t entry_size = pointers_ ? 16 : 8;
    return function_count_ > 0 && function_count_ < (data_.size() - table_) / entry_size;
}

void Pclntab::find_functions(const ElfFile &elf) {
    Relocations relocations(elf);
    std::optional<uint64_t> text = text_start(elf, relocations);
    if (!text)
        malformed("where the code of its pclntab starts is not known");
    uint64_t count = function_count_;
    std::vector<uint64_t> entries; // address and offset of each; the last is where they end
    if (pointers_) {
        entries = relocations.words(address_ + table_, count * 2 + 1);
        if (entries.empty())
            malformed("its pclntab ends too early");
    } else {
        Cursor cursor(data_, table_);
        for (uint64_t i = 0; i < count * 2 + 1; i++)
            entries.push_back(cursor.u32() + (i % 2 == 0 ? *text : 0));
    }
    functions_.reserve(count);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t start = entries[i * 2];
        uint64_t end = entries[i * 2 + 2];
        uint64_t record = entries[i * 2 + 1];
        const Segment *segment = end >= start ? elf.segment_with(start, end - start) : nullptr;
        if (!segment || !(segment->flags & PF_X))
            malformed("its pclntab has functions outside its code");
        if (record > data_.size() - table_)
            malformed("its pclntab contradicts itself");
        if (end > start)
            functions_.push_back({start, end, table_ + record});
    }
}

// Words of runtime.moduledata up to `text`; the same from Go 1.16 on.
enum { PC_HEADER = 0, NAMES = 1, PCLN = 13, FTAB = 16, MIN_PC = 20, MAX_PC = 21, TEXT = 22 };

// The linker's header holds the start of the text up to Go 1.25 only, and a relocated zero in
// PIE; moduledata is what the runtime itself goes by, and checks in the same way
// (moduledataverify1).
std::optional<uint64_t> Pclntab::text_start(const ElfFile &elf, const Relocations &relocations) {
    uint64_t text = 0;
    if (elf.position_independent()) {
        for (uint64_t address : relocations.pointers_to(address_))
            if (is_module_data(relocations, address, text)) {
                module_data_ = address;
                return text;
            }
    } else {
        for (const Segment &segment : elf.segments()) {
            if (segment.type != PT_LOAD || !(segment.flags & PF_W))
                continue;
            Bytes data = elf.read(segment.offset, segment.file_size);
            uint64_t word;
            for (uint64_t at = (8 - segment.address % 8) % 8; at + 8 <= data.size(); at += 8) {
                memcpy(&word, data.data() + at, sizeof word);
                if (word == address_ && is_module_data(relocations, segment.address + at, text)) {
                    module_data_ = segment.address + at;
                    return text;
                }
            }
        }
    }
    return std::nullopt;
}

bool Pclntab::is_module_data(const Relocations &relocations, uint64_t address,
                             uint64_t &text) const {
    std::vector<uint64_t> words = relocations.words(address, TEXT + 1);
    if (words.empty() || words[PC_HEADER] != address_ || words[NAMES] != address_ + names_ ||
        words[PCLN] != address_ + table_ || words[FTAB] != address_ + table_ ||
        words[FTAB + 1] != function_count_ + 1)
        return false;
    text = words[TEXT];
    uint64_t first, end;
    if (pointers_) {
        std::vector<uint64_t> start = relocations.words(address_ + table_, 1);
        std::vector<uint64_t> stop = relocations.words(address_ + table_ + function_count_ * 16, 1);
        if (start.empty() || stop.empty())
            return false;
        first = start[0];
        end = stop[0];
    } else {
        first = text + Cursor(data_, table_).u32();
        end = text + Cursor(data_, table_ + function_count_ * 8).u32();
    }
    return words[MIN_PC] == first && words[MAX_PC] == end;
}

uint32_t Pclntab::field(const Function &function, unsigned index) const {
    return Cursor(data_, function.record + (pointers_ ? 8 : 4) + index * 4).u32();
}

FunctionTable Pclntab::functions() const {
    std::vector<FunctionEntry> entries;
    entries.reserve(functions_.size());
    for (const Function &function : functions_) {
        uint64_t name = names_ + field(function, NAME);
        if (name >= data_.size())
            malformed("its pclntab has names outside of it");
        const char *start = reinterpret_cast<const char *>(data_.data()) + name;
        size_t length = strnlen(start, std::min(data_.size() - name, LONGEST_NAME));
        entries.push_back(
            {function.address, code_end(function) - function.address, {start, length}});
    }
    return to_table(std::move(entries), "pclntab");
}

const Pclntab::Function *Pclntab::function_with(uint64_t address) const {
    auto after = std::upper_bound(
        functions_.begin(), functions_.end(), address,
        [](uint64_t wanted, const Function &function) { return wanted < function.address; });
    if (after == functions_.begin())
        return nullptr;
    const Function &function = *(after - 1);
    return address < function.end ? &function : nullptr;
}

// Without the padding before the next function: its tables end with its code.
uint64_t Pclntab::code_end(const Function &function) const {
    uint32_t table = field(function, FILE_VALUES);
    if (table == 0)
        return function.end;
    Cursor cursor(data_, values_ + table);
    uint64_t at = function.address;
    for (bool first = true; at < function.end; first = false) {
        if (cursor.uleb128() == 0 && !first)
            return at;
        at += static_cast<uint32_t>(cursor.uleb128());
    }
    return function.end;
}

// A table of values by address: pairs of differences as variable-length numbers, the first
// zig-zag coded (runtime/symtab.go: pcvalue, step).
std::optional<int32_t> Pclntab::value_at(const Function &function, uint32_t table,
                                         uint64_t address) const {
    if (table == 0)
        return std::nullopt;
    Cursor cursor(data_, values_ + table);
    uint64_t at = function.address;
    uint32_t value = ~uint32_t{0};
    for (bool first = true; at < function.end; first = false) {
        uint32_t delta = static_cast<uint32_t>(cursor.uleb128());
        if (delta == 0 && !first)
            return std::nullopt;
        value += delta & 1 ? ~(delta >> 1) : delta >> 1;
        at += static_cast<uint32_t>(cursor.uleb128());
        if (address < at)
            return static_cast<int32_t>(value);
    }
    return std::nullopt;
}

std::optional<SourceLine> Pclntab::line_of(uint64_t address) const {
    const Function *function = function_with(address);
    if (!function)
        return std::nullopt;
    std::optional<int32_t> file = value_at(*function, field(*function, FILE_VALUES), address);
    std::optional<int32_t> line = value_at(*function, field(*function, LINE_VALUES), address);
    if (!file || !line || *file < 0 || *line <= 0)
        return std::nullopt;
    uint64_t slot = static_cast<uint64_t>(field(*function, UNIT)) + static_cast<uint32_t>(*file);
    uint32_t offset = Cursor(data_, units_ + slot * 4).u32();
    if (offset == ~uint32_t{0})
        return std::nullopt;
    std::string_view name = Cursor(data_, files_ + offset).text();
    if (name.empty() || name == "?" || name == "<autogenerated>")
        return std::nullopt;
    return SourceLine{std::string(name), static_cast<uint64_t>(*line)};
}

std::optional<uint32_t> Pclntab::argument_bytes(uint64_t address) const {
    const Function *function = function_with(address);
    if (!function || function->address != address)
        return std::nullopt;
    uint32_t bytes = field(*function, ARGUMENTS);
    return bytes == ARGUMENTS_UNKNOWN ? std::nullopt : std::optional(bytes);
}
