// x86-64 instructions, as far as probing is concerned: INSTRUCTION_SIZE in
// src/native/instructions.ts.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "elf.h"

// Records of all functions, one after the other. `owners` is empty, or says of each which of them
// it is a part of (itself, if it is none).
Bytes decode_functions(const ElfFile &elf, const std::vector<uint64_t> &addresses,
                       const std::vector<uint64_t> &sizes, const std::vector<uint64_t> &owners);

// The instruction at each address, as assemblers write it; none where none can be decoded.
std::vector<std::optional<std::string>> disassemble(const ElfFile &elf,
                                                    const std::vector<uint64_t> &addresses);
