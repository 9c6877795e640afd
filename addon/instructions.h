// x86-64 instructions, as far as probing is concerned: INSTRUCTION_SIZE in src/native/native.ts.
#pragma once

#include <vector>

#include "elf.h"

// Records of all functions, one after the other.
Bytes decode_functions(const ElfFile &elf, const std::vector<uint64_t> &addresses,
                       const std::vector<uint64_t> &sizes);
