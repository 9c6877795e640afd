// What one instruction does, as far as probing is concerned: INSTRUCTION_SIZE in
// src/native/instructions.ts.
#pragma once

#include <cstdint>

#include "instruction.h"

namespace instructions {

// The three enumerations and the record are those of src/native/instructions.ts.
enum Kind : uint8_t {
    OTHER = 0,
    RETURN = 1,
    JUMP = 2,
    CONDITIONAL = 3,
    INDIRECT_JUMP = 4,
    CALL = 5,
    INDIRECT_CALL = 6,
    PUSH = 7,
    NOP = 8,
    TRAP = 9,
    ENDBR = 10,
    STACK_CHECK = 11,
    UNDECODABLE = 255,
};

enum Flag : uint8_t {
    FRAME_PUSH = 1,
    BELOW_EQUAL = 2,
    TOUCHES_STACK_POINTER = 4,
    EMULATED = 8,
    WRITES_R14 = 16,
    OPTIMIZED = 32,
};

struct Record {
    uint32_t function;
    uint32_t offset;
    uint8_t length;
    uint8_t kind;
    uint8_t flags;
    uint8_t detail;
    uint32_t effects;
    double target;
};
static_assert(sizeof(Record) == 24);

// Of an indirect jump: Record::detail.
constexpr uint8_t THROUGH_TABLE = 1;
constexpr uint8_t THROUGH_GOT = 2;

Kind kind_of(const Instruction &instruction);
// Record::flags.
uint8_t flags_of(const Instruction &instruction, Kind kind);
// Record::detail of a conditional jump.
uint8_t condition_of(const ZydisDecodedInstruction &decoded);
// Record::effects, of all but a CALL.
uint32_t effects_of(const Instruction &instruction, Kind kind);
// Its first operand says where it leads, relative to itself.
bool is_relative(const Instruction &instruction);

} // namespace instructions
