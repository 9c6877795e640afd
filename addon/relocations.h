// What the dynamic loader writes into a position-independent file's pointers, less the address
// it is loaded at.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "elf.h"

class Relocations {
  public:
    explicit Relocations(const ElfFile &elf);

    // The pointer at `address`; nothing if what it will hold cannot be known.
    std::optional<uint64_t> pointer(uint64_t address) const;
    // The same for many that lie side by side, those that are no pointers as they stand.
    std::vector<uint64_t> words(uint64_t address, size_t count) const;
    // Writes them into `bytes`, which were read from `address`.
    void apply(uint64_t address, Bytes &bytes) const;
    // Addresses of all relocated pointers to `target`.
    std::vector<uint64_t> pointers_to(uint64_t target) const;

  private:
    std::optional<uint64_t> relocated(uint64_t address) const;
    void add_rela(const Bytes &table);
    void add_relr(const Bytes &table);

    const ElfFile &elf_;
    std::vector<std::pair<uint64_t, uint64_t>> values_; // by address
};
