// The dynamic section: where a file has what the dynamic loader needs.
#pragma once

#include "elf.h"

struct DynamicSection {
    // Addresses, and sizes in bytes; 0 is none.
    struct Table {
        uint64_t address = 0;
        uint64_t size = 0;
    };
    Table rela;
    Table relr;
    // Relocations of the PLT.
    Table plt;

    // All empty in a file without one.
    explicit DynamicSection(const ElfFile &elf);
};

// What one of them holds.
Bytes relocations_in(const ElfFile &elf, DynamicSection::Table table);
