#include "instruction_record.h"

#include <optional>
#include <utility>

#include "probing.h"

namespace instructions {

// Of a conditional jump: it is not decided by the flags.
static constexpr uint8_t NO_FLAGS = 255;

// Bits 0 to 15: the registers that it writes.
static constexpr uint32_t NOT_PROBED = 1u << 16;
static constexpr uint32_t STACK_UNKNOWN = 1u << 17;
static constexpr uint32_t WRITES_MEMORY = 1u << 18;
static constexpr unsigned STACK_SHIFT =
    19; // above: words that it moves the stack pointer by, signed

static bool is_register(ZydisRegister given, ZydisRegister enclosing) {
    return enclosing_register(given) == enclosing;
}

bool is_relative(const Instruction &instruction) {
    const ZydisDecodedOperand &operand = instruction.operands[0];
    return instruction.decoded.operand_count_visible > 0 &&
           operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE && operand.imm.is_relative;
}

static bool is_stack_check(const Instruction &instruction) {
    if (instruction.decoded.mnemonic != ZYDIS_MNEMONIC_CMP)
        return false;
    const ZydisDecodedOperand *memory = &instruction.operands[0];
    const ZydisDecodedOperand *limit = &instruction.operands[1];
    if (memory->type != ZYDIS_OPERAND_TYPE_MEMORY)
        std::swap(memory, limit);
    return memory->type == ZYDIS_OPERAND_TYPE_MEMORY &&
           limit->type == ZYDIS_OPERAND_TYPE_REGISTER && memory->mem.base == ZYDIS_REGISTER_R14 &&
           memory->mem.index == ZYDIS_REGISTER_NONE &&
           (memory->mem.disp.value == 0x10 || memory->mem.disp.value == 0x18);
}

Kind kind_of(const Instruction &instruction) {
    const ZydisDecodedInstruction &decoded = instruction.decoded;
    const ZydisDecodedOperand &first = instruction.operands[0];
    switch (decoded.mnemonic) {
    case ZYDIS_MNEMONIC_RET:
        // A far return is no way to leave a function; nothing is known of code that has one.
        return decoded.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ? UNDECODABLE : RETURN;
    case ZYDIS_MNEMONIC_IRET:
    case ZYDIS_MNEMONIC_IRETD:
    case ZYDIS_MNEMONIC_IRETQ:
    case ZYDIS_MNEMONIC_SYSRET:
    case ZYDIS_MNEMONIC_SYSEXIT:
        return UNDECODABLE;
    case ZYDIS_MNEMONIC_UD0:
    case ZYDIS_MNEMONIC_UD1:
    case ZYDIS_MNEMONIC_UD2:
    case ZYDIS_MNEMONIC_HLT:
    case ZYDIS_MNEMONIC_INT:
    case ZYDIS_MNEMONIC_INT1:
    case ZYDIS_MNEMONIC_INT3:
        return TRAP;
    case ZYDIS_MNEMONIC_ENDBR64:
        return ENDBR;
    case ZYDIS_MNEMONIC_NOP:
        return decoded.length == 1 ? NOP : OTHER;
    case ZYDIS_MNEMONIC_JMP:
        return is_relative(instruction) ? JUMP : INDIRECT_JUMP;
    case ZYDIS_MNEMONIC_CALL:
        return is_relative(instruction) ? CALL : INDIRECT_CALL;
    case ZYDIS_MNEMONIC_PUSH:
        return first.type == ZYDIS_OPERAND_TYPE_REGISTER && first.size == 64 &&
                       ZydisRegisterGetClass(first.reg.value) == ZYDIS_REGCLASS_GPR64
                   ? PUSH
                   : OTHER;
    case ZYDIS_MNEMONIC_CMP:
        return is_stack_check(instruction) ? STACK_CHECK : OTHER;
    default:
        return decoded.meta.category == ZYDIS_CATEGORY_COND_BR ? CONDITIONAL : OTHER;
    }
}

uint8_t flags_of(const Instruction &instruction, Kind kind) {
    const ZydisDecodedInstruction &decoded = instruction.decoded;
    uint8_t flags = is_emulated(decoded) ? EMULATED : 0;
    if (is_optimized(decoded))
        flags |= OPTIMIZED;
    if (decoded.mnemonic == ZYDIS_MNEMONIC_JBE)
        flags |= BELOW_EQUAL;
    if (kind == PUSH && instruction.operands[0].reg.value == ZYDIS_REGISTER_RBP)
        flags |= FRAME_PUSH;
    bool stack_is_implied = decoded.mnemonic == ZYDIS_MNEMONIC_PUSH || kind == CALL ||
                            kind == INDIRECT_CALL || kind == RETURN;
    for (unsigned i = 0; i < decoded.operand_count; i++) {
        const ZydisDecodedOperand &operand = instruction.operands[i];
        bool implied = operand.visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN;
        bool stack = false;
        if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER) {
            stack = is_register(operand.reg.value, ZYDIS_REGISTER_RSP);
            if (is_register(operand.reg.value, ZYDIS_REGISTER_R14) &&
                (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
                flags |= WRITES_R14;
        } else if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY) {
            stack = is_register(operand.mem.base, ZYDIS_REGISTER_RSP);
        }
        if (stack && !(implied && stack_is_implied))
            flags |= TOUCHES_STACK_POINTER;
    }
    return flags;
}

// The lower half of the opcode, in both encodings, which are 70 to 7f and 0f 80 to 0f 8f.
uint8_t condition_of(const ZydisDecodedInstruction &decoded) {
    bool near = decoded.opcode_map == ZYDIS_OPCODE_MAP_0F && (decoded.opcode & 0xf0) == 0x80;
    bool brief = decoded.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && (decoded.opcode & 0xf0) == 0x70;
    return near || brief ? decoded.opcode & 0x0f : NO_FLAGS;
}

// By how many bytes it moves the stack pointer, which it is known to write; nothing if it cannot
// be told.
static std::optional<int64_t> stack_change(const Instruction &instruction) {
    const ZydisDecodedOperand &first = instruction.operands[0], &second = instruction.operands[1];
    switch (instruction.decoded.mnemonic) {
    case ZYDIS_MNEMONIC_PUSH:
    case ZYDIS_MNEMONIC_PUSHFQ:
        if (instruction.decoded.operand_width == 64)
            return -8;
        break;
    case ZYDIS_MNEMONIC_POP:
        if (first.size == 64 && first.type == ZYDIS_OPERAND_TYPE_REGISTER &&
            first.reg.value != ZYDIS_REGISTER_RSP)
            return 8;
        break;
    case ZYDIS_MNEMONIC_ADD:
    case ZYDIS_MNEMONIC_SUB:
        if (first.type != ZYDIS_OPERAND_TYPE_REGISTER || first.reg.value != ZYDIS_REGISTER_RSP ||
            second.type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
            break;
        return instruction.decoded.mnemonic == ZYDIS_MNEMONIC_ADD ? second.imm.value.s
                                                                  : -second.imm.value.s;
    default:
        break;
    }
    return std::nullopt;
}

uint32_t effects_of(const Instruction &instruction, Kind kind) {
    uint32_t effects = takes_probe(instruction.decoded) ? 0 : NOT_PROBED;
    for (unsigned i = 0; i < instruction.decoded.operand_count; i++) {
        const ZydisDecodedOperand &operand = instruction.operands[i];
        if (!(operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
            continue;
        if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER) {
            unsigned reg = general_register(operand.reg.value);
            if (reg < GENERAL_REGISTERS)
                effects |= 1u << reg;
        } else if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY &&
                   operand.mem.base != ZYDIS_REGISTER_RSP) {
            effects |= WRITES_MEMORY;
        }
    }
    constexpr uint32_t STACK_POINTER = 1u << 4;
    if (!(effects & STACK_POINTER) || kind == INDIRECT_CALL || kind == RETURN)
        return effects;
    std::optional<int64_t> change = stack_change(instruction);
    constexpr int64_t MOST_WORDS = 1 << 12;
    if (!change || *change % 8 != 0 || *change / 8 >= MOST_WORDS || *change / 8 < -MOST_WORDS)
        return effects | STACK_UNKNOWN;
    return effects | static_cast<uint32_t>(*change / 8) << STACK_SHIFT;
}

} // namespace instructions
