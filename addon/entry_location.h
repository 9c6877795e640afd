// Where DWARF says that a parameter is at the moment when its function begins.
#pragma once

#include <cstdint>
#include <vector>

#include "dwarf.h"

namespace dwarf {

struct EntryPiece {
    enum Kind : uint8_t {
        NOWHERE,  // not kept, or nobody uses it
        CONSTANT, // replaced by its value
        REGISTER, // by DWARF's number
        MEMORY,   // at what the register holds
        STACK,    // at this distance from the first stack argument
    };
    Kind kind = NOWHERE;
    uint64_t number = 0;
    uint64_t offset = 0; // in the value
    uint64_t size = 0;   // 0: all of it
};

struct EntryLocation {
    enum Kind : uint8_t {
        UNSAID,  // DWARF is silent about it at that moment; `pieces` tell where it is first
        HOME,    // in the function's own frame, as in code that is not optimised
        UNCLEAR, // computed in a way that is not followed
        PIECES,
    };
    Kind kind = UNSAID;
    std::vector<EntryPiece> pieces;
};

// `frame_is_cfa`: offsets from the frame's base count from the first stack argument.
EntryLocation entry_location(const Reader &reader, const Unit &unit, const Entry &parameter,
                             uint64_t address, bool frame_is_cfa);

// Whether a function's DW_AT_frame_base is the canonical frame address.
bool frame_base_is_cfa(const Entry &function);

} // namespace dwarf
