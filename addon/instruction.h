// One decoded x86-64 instruction.
#pragma once

#include <Zydis/Zydis.h>

struct Instruction {
    ZydisDecodedInstruction decoded;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

inline ZydisRegister enclosing_register(ZydisRegister given) {
    return ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, given);
}

constexpr unsigned GENERAL_REGISTERS = 16;

// 0 RAX, 1 RCX, 2 RDX, 3 RBX, 4 RSP and so on, as instructions encode them; GENERAL_REGISTERS for
// a register that is none of those, nor a part of one.
inline unsigned general_register(ZydisRegister given) {
    ZydisRegister enclosing = enclosing_register(given);
    if (enclosing < ZYDIS_REGISTER_RAX || enclosing > ZYDIS_REGISTER_R15)
        return GENERAL_REGISTERS;
    return static_cast<unsigned>(enclosing - ZYDIS_REGISTER_RAX);
}
