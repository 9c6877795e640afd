// Functions of programs in C, C++, Rust and the like.
#pragma once

#include <vector>

#include "elf.h"
#include "symbols.h"

// By all symbol tables there are: the file's own and those of `others`, which hold symbols of the
// same program.
FunctionTable native_functions(const ElfFile &elf, const std::vector<const ElfFile *> &others);
