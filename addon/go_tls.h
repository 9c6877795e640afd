// Where a thread of a Go program keeps its g.
#pragma once

#include <cstdint>
#include <optional>

#include "elf.h"

// From the thread pointer; none where that cannot be told.
std::optional<int64_t> go_thread_offset(const ElfFile &elf);
