#include "thread_locals.h"

#include <elf.h>

#include <algorithm>
#include <string_view>

#include "dynamic_section.h"

namespace {

// A module has one slot for each way in which its code reaches a variable.
constexpr size_t MOST_SLOTS = 16;

std::string_view name_at(const Bytes &names, uint32_t offset) {
    if (offset >= names.size())
        malformed("a symbol's name lies outside the names");
    const char *name = reinterpret_cast<const char *>(names.data()) + offset;
    return {name, strnlen(name, names.size() - offset)};
}

// What one symbol table says of the variable, and under which numbers.
struct Found {
    std::optional<uint64_t> offset;
    std::vector<uint64_t> numbers;
};

Found look_up(const ElfFile &elf, uint32_t section_type, const std::string &wanted) {
    Found found;
    const Section *section = elf.section_of_type(section_type);
    if (!section)
        return found;
    if (section->link >= elf.sections().size())
        malformed("a symbol table has no names");
    Bytes symbols = elf.contents(*section);
    Bytes names = elf.contents(elf.sections()[section->link]);
    const Segment *segment = elf.segment_of_type(PT_TLS);
    Cursor cursor(symbols);
    for (uint64_t number = 0; cursor.left() >= sizeof(Elf64_Sym); number++) {
        auto symbol = cursor.number<Elf64_Sym>();
        if (ELF64_ST_TYPE(symbol.st_info) != STT_TLS || symbol.st_name == 0 ||
            name_at(names, symbol.st_name) != wanted)
            continue;
        found.numbers.push_back(number);
        // A pointer that lies in the segment as a whole.
        if (symbol.st_shndx != SHN_UNDEF && segment && segment->memory_size >= 8 &&
            symbol.st_value <= segment->memory_size - 8)
            found.offset = symbol.st_value;
    }
    return found;
}

const char *kind_of(uint64_t type) {
    switch (type) {
    case R_X86_64_TLSDESC:
        return "descriptor";
    case R_X86_64_DTPMOD64:
        return "module";
    case R_X86_64_TPOFF64:
        return "offset";
    default:
        return nullptr;
    }
}

void add_slots(const Bytes &table, const Found &found, std::vector<ThreadLocal::Slot> &slots) {
    Cursor cursor(table);
    while (cursor.left() >= sizeof(Elf64_Rela) && slots.size() < MOST_SLOTS) {
        auto entry = cursor.number<Elf64_Rela>();
        uint64_t type = ELF64_R_TYPE(entry.r_info);
        uint64_t number = ELF64_R_SYM(entry.r_info);
        const char *kind = kind_of(type);
        if (!kind)
            continue;
        if (number == 0) {
            // Bound by the linker: the module itself, and an offset in it.
            if (type == R_X86_64_DTPMOD64) {
                if (found.offset)
                    slots.push_back({"own module", entry.r_offset});
            } else if (found.offset && static_cast<uint64_t>(entry.r_addend) == *found.offset) {
                slots.push_back({kind, entry.r_offset});
            }
        } else if (entry.r_addend == 0 && std::find(found.numbers.begin(), found.numbers.end(),
                                                    number) != found.numbers.end()) {
            slots.push_back({kind, entry.r_offset});
        }
    }
}

} // namespace

std::optional<ThreadLocal> find_thread_local(const ElfFile &elf, const std::string &name) {
    Found dynamic = look_up(elf, SHT_DYNSYM, name);
    ThreadLocal variable;
    // A static program need not have a table of dynamic symbols.
    variable.offset = dynamic.offset ? dynamic.offset : look_up(elf, SHT_SYMTAB, name).offset;
    if (!variable.offset && dynamic.numbers.empty())
        return std::nullopt;
    dynamic.offset = variable.offset;
    DynamicSection section(elf);
    add_slots(relocations_in(elf, section.rela), dynamic, variable.slots);
    // GNU ld puts descriptors among the relocations of the PLT.
    add_slots(relocations_in(elf, section.plt), dynamic, variable.slots);
    return variable;
}
