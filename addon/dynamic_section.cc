#include "dynamic_section.h"

#include <elf.h>

// Newer than Debian 12's elf.h has them under these names.
static constexpr uint64_t TAG_RELRSZ = 35;
static constexpr uint64_t TAG_RELR = 36;

DynamicSection::DynamicSection(const ElfFile &elf) {
    const Segment *segment = elf.segment_of_type(PT_DYNAMIC);
    if (!segment)
        return;
    Bytes entries = elf.read(segment->offset, segment->file_size);
    Cursor cursor(entries);
    while (cursor.left() >= sizeof(Elf64_Dyn)) {
        uint64_t tag = cursor.u64();
        uint64_t value = cursor.u64();
        switch (tag) {
        case DT_NULL:
            return;
        case DT_RELA:
            rela.address = value;
            break;
        case DT_RELASZ:
            rela.size = value;
            break;
        case TAG_RELR:
            relr.address = value;
            break;
        case TAG_RELRSZ:
            relr.size = value;
            break;
        case DT_JMPREL:
            plt.address = value;
            break;
        case DT_PLTRELSZ:
            plt.size = value;
            break;
        }
    }
}

Bytes relocations_in(const ElfFile &elf, DynamicSection::Table table) {
    if (table.size == 0)
        return {};
    std::optional<Bytes> content = elf.memory(table.address, table.size);
    if (!content)
        malformed("its relocations lie outside the file");
    return *std::move(content);
}
