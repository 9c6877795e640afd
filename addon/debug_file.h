// Where a stripped program's symbols and debug information went.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "elf.h"

// The separate debug file of a program, by its build id or its .gnu_debuglink, beneath one of
// `roots`; null if there is none that surely belongs to it. Paths and links are followed within
// the root, as the program itself would see them.
std::unique_ptr<ElfFile> find_debug_file(const ElfFile &elf, const std::vector<std::string> &roots);

// The symbols in .gnu_debugdata, which distributions leave in their programs; null if there are
// none.
std::unique_ptr<ElfFile> embedded_debug_data(const ElfFile &elf);
