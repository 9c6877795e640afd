#include "unwinders.h"

#include <elf.h>

#include <algorithm>
#include <iterator>

#include "symbols.h"

// By these the C library, or the language's, walks the stack.
static constexpr std::string_view ASKS[] = {"pthread_exit", "pthread_cancel", "thrd_exit",
                                            "backtrace"};

static bool is_unwinder(std::string_view name) {
    return name.substr(0, 8) == "_Unwind_" || name.substr(0, 4) == "unw_" ||
           name.substr(0, 5) == "_Ux86" || name.substr(0, 6) == "_ULx86";
}

bool may_unwind(const std::string &path) {
    ElfFile elf(path);
    bool found = false;
    auto defined = [&](const Symbol &symbol) { found = found || is_unwinder(symbol.name); };
    std::optional<SymbolTable> dynamic = SymbolTable::load(elf, SHT_DYNSYM);
    if (!dynamic) {
        std::optional<SymbolTable> all = SymbolTable::load(elf, SHT_SYMTAB);
        if (!all)
            return true;
        all->for_each(defined);
        return found;
    }
    dynamic->for_each(defined);
    dynamic->for_each_import([&](std::string_view name) {
        found = found || is_unwinder(name) ||
                std::find(std::begin(ASKS), std::end(ASKS), name) != std::end(ASKS);
    });
    return found;
}
