#include "go_tls.h"

#include <elf.h>

#include "symbols.h"

// The executable's own thread-local storage ends at the thread pointer (the ABI's variant II,
// x86-64).
std::optional<int64_t> go_thread_offset(const ElfFile &elf) {
    constexpr uint64_t LARGEST = 1 << 20;
    // What Go's own linker makes has room for the g and nothing else, in a static executable
    // without saying so.
    constexpr auto ALONE = -static_cast<int64_t>(sizeof(uint64_t));
    const Segment *storage = nullptr;
    for (const Segment &segment : elf.segments())
        if (segment.type == PT_TLS)
            storage = &segment;
    if (storage == nullptr || storage->memory_size == sizeof(uint64_t))
        return ALONE;
    if (storage->memory_size > LARGEST || storage->alignment > LARGEST)
        return std::nullopt;
    auto symbols = SymbolTable::load(elf, SHT_SYMTAB);
    if (!symbols)
        return std::nullopt;
    uint64_t alignment = storage->alignment > 1 ? storage->alignment : 1;
    uint64_t size = (storage->memory_size + alignment - 1) / alignment * alignment;
    std::optional<int64_t> found;
    symbols->for_each([&](const Symbol &symbol) {
        if (symbol.type == STT_TLS && symbol.name == "runtime.tlsg" &&
            symbol.address < storage->memory_size)
            found = static_cast<int64_t>(symbol.address) - static_cast<int64_t>(size);
    });
    return found;
}
