#include "relocations.h"

#include <elf.h>

#include <algorithm>

#include "dynamic_section.h"

// More than any program has; RELR could otherwise name 63 pointers in each of its words.
static constexpr size_t MOST = 64u << 20;

Relocations::Relocations(const ElfFile &elf) : elf_(elf) {
    if (!elf.position_independent())
        return;
    DynamicSection dynamic(elf);
    add_rela(relocations_in(elf, dynamic.rela));
    add_relr(relocations_in(elf, dynamic.relr));
    std::sort(values_.begin(), values_.end());
}

void Relocations::add_rela(const Bytes &table) {
    Cursor cursor(table);
    while (cursor.left() >= sizeof(Elf64_Rela)) {
        auto entry = cursor.number<Elf64_Rela>();
        if (ELF64_R_TYPE(entry.r_info) == R_X86_64_RELATIVE)
            values_.emplace_back(entry.r_offset, static_cast<uint64_t>(entry.r_addend));
    }
}

// gABI, "Relative Relocations": an address, then bit maps of the 63 words that follow. The
// addends stand in the file.
void Relocations::add_relr(const Bytes &table) {
    auto add = [&](uint64_t where) {
        if (values_.size() >= MOST)
            malformed("it has too many relocations");
        if (std::optional<Bytes> word = elf_.memory(where, 8))
            values_.emplace_back(where, Cursor(*word).u64());
    };
    Cursor cursor(table);
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
