#include "relocations.h"

#include <elf.h>

#include <algorithm>

// Newer than Debian 12's elf.h has them under these names.
static constexpr uint64_t TAG_RELRSZ = 35;
static constexpr uint64_t TAG_RELR = 36;
// More than any program has; RELR could otherwise name 63 pointers in each of its words.
static constexpr size_t MOST = 64u << 20;

Relocations::Relocations(const ElfFile &elf) : elf_(elf) {
    if (!elf.position_independent())
        return;
    uint64_t rela = 0, rela_size = 0, relr = 0, relr_size = 0;
    for (const Segment &segment : elf.segments()) {
        if (segment.type != PT_DYNAMIC)
            continue;
        Bytes entries = elf.read(segment.offset, segment.file_size);
        Cursor cursor(entries);
        while (cursor.left() >= 16) {
            uint64_t tag = cursor.u64();
            uint64_t value = cursor.u64();
            if (tag == DT_NULL)
                break;
            if (tag == DT_RELA)
                rela = value;
            else if (tag == DT_RELASZ)
                rela_size = value;
            else if (tag == TAG_RELR)
                relr = value;
            else if (tag == TAG_RELRSZ)
                relr_size = value;
        }
    }
    add_rela(rela, rela_size);
    add_relr(relr, relr_size);
    std::sort(values_.begin(), values_.end());
}

void Relocations::add_rela(uint64_t address, uint64_t size) {
    if (size == 0)
        return;
    std::optional<Bytes> table = elf_.memory(address, size);
    if (!table)
        malformed("its relocations lie outside the file");
    Cursor cursor(*table);
    while (cursor.left() >= sizeof(Elf64_Rela)) {
        auto entry = cursor.number<Elf64_Rela>();
        if (ELF64_R_TYPE(entry.r_info) == R_X86_64_RELATIVE)
            values_.emplace_back(entry.r_offset, static_cast<uint64_t>(entry.r_addend));
    }
}

// gABI, "Relative Relocations": an address, then bit maps of the 63 words that follow. The
// addends stand in the file.
void Relocations::add_relr(uint64_t address, uint64_t size) {
    if (size == 0)
        return;
    std::optional<Bytes> table = elf_.memory(address, size);
    if (!table)
        malformed("its relocations lie outside the file");
    auto add = [&](uint64_t where) {
        if (values_.size() >= MOST)
            malformed("it has too many relocations");
        if (std::optional<Bytes> word = elf_.memory(where, 8))
            values_.emplace_back(where, Cursor(*word).u64());
    };
    Cursor cursor(*table);
    uint64_t where = 0;
    while (cursor.left() >= 8) {
        uint64_t entry = cursor.u64();
        if (!(entry & 1)) {
            add(entry);
            where = entry + 8;
            continue;
        }
        for (unsigned bit = 1; bit < 64; bit++)
            if (entry >> bit & 1)
                add(where + (bit - 1) * 8);
        where += 63 * 8;
    }
}

std::optional<uint64_t> Relocations::relocated(uint64_t address) const {
    auto found =
        std::lower_bound(values_.begin(), values_.end(), std::pair<uint64_t, uint64_t>(address, 0));
    if (found == values_.end() || found->first != address)
        return std::nullopt;
    return found->second;
}

std::optional<uint64_t> Relocations::pointer(uint64_t address) const {
    if (elf_.position_independent())
        return relocated(address);
    std::optional<Bytes> word = elf_.memory(address, 8);
    if (!word)
        return std::nullopt;
    return Cursor(*word).u64();
}

std::vector<uint64_t> Relocations::words(uint64_t address, size_t count) const {
    std::vector<uint64_t> words;
    std::optional<Bytes> raw = elf_.memory(address, count * 8);
    if (!raw)
        return words;
    Cursor cursor(*raw);
    for (size_t i = 0; i < count; i++) {
        uint64_t word = cursor.u64();
        words.push_back(relocated(address + i * 8).value_or(word));
    }
    return words;
}

void Relocations::apply(uint64_t address, Bytes &bytes) const {
    auto from =
        std::lower_bound(values_.begin(), values_.end(), std::pair<uint64_t, uint64_t>(address, 0));
    for (; from != values_.end() && from->first - address < bytes.size(); ++from)
        if (uint64_t at = from->first - address; bytes.size() - at >= sizeof from->second)
            memcpy(bytes.data() + at, &from->second, sizeof from->second);
}

std::vector<uint64_t> Relocations::pointers_to(uint64_t target) const {
    std::vector<uint64_t> addresses;
    for (const auto &[address, value] : values_)
        if (value == target)
            addresses.push_back(address);
    return addresses;
}
