// Thread-local variables: where a module's TLS segment has them, and which words the dynamic loader
// fills in so that code can reach them ("ELF Handling For Thread-Local Storage").
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "elf.h"

struct ThreadLocal {
    struct Slot {
        const char *kind;
        uint64_t address;
    };
    // In the module's TLS segment; nothing: another module defines the variable.
    std::optional<uint64_t> offset;
    std::vector<Slot> slots;
};

// Nothing if the file neither defines the variable nor refers to it.
std::optional<ThreadLocal> find_thread_local(const ElfFile &elf, const std::string &name);
