// Source positions by .debug_line.
#pragma once

#include <optional>
#include <vector>

#include "dwarf.h"
#include "pclntab.h"

namespace dwarf {

// By address; those that are found replace what is missing in `lines`.
void find_lines(const Reader &reader, const std::vector<uint64_t> &addresses,
                std::vector<std::optional<SourceLine>> &lines);

} // namespace dwarf
