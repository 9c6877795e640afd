// Range lists and location lists, in the forms of DWARF 4 and 5.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "dwarf.h"

namespace dwarf {

struct Range {
    uint64_t start;
    uint64_t end;
};

// Addresses of a unit's or a function's code.
std::vector<Range> ranges_of(const Reader &reader, const Unit &unit, const Entry &entry);

// One word of a value at the start of a function, if it is in a register: its DWARF number.
using Pieces = std::vector<std::optional<uint64_t>>;

// Where a parameter is when the function at `address` begins, piece by piece; nothing if it is
// not in registers as a whole or in part, or if DWARF does not say.
std::optional<Pieces> registers_at_entry(const Reader &reader, const Unit &unit,
                                         const Entry &parameter, uint64_t address);

// The expression that says where a parameter is when the function at `address` begins; nothing
// if DWARF says nothing of that moment.
std::optional<Cursor> location_at_entry(const Reader &reader, const Unit &unit,
                                        const Attribute &location, uint64_t address);
// The first expression of a location list.
std::optional<Cursor> first_location(const Reader &reader, const Unit &unit,
                                     const Attribute &location);

} // namespace dwarf
