#include "probing.h"

#include <cstdint>

namespace {

bool has_prefix(const ZydisDecodedInstruction &decoded, uint8_t wanted) {
    for (unsigned i = 0; i < decoded.raw.prefix_count; i++)
        if (decoded.raw.prefixes[i].value == wanted)
            return true;
    return false;
}

// is_prefix_bad()
bool has_refused_prefix(const ZydisDecodedInstruction &decoded) {
    constexpr uint8_t REFUSED[] = {0x26, 0x2e, 0x36, 0x3e, 0xf0};
    for (uint8_t prefix : REFUSED)
        if (has_prefix(decoded, prefix))
            return true;
    return false;
}

// Bit n of row m: opcode 0xmn. good_insns_64, less what is an opcode only in 32 bits.
constexpr uint16_t ONE_BYTE[16] = {
    0x3f3f, 0x3f3f, 0x3f3f, 0x3f3f, 0x0000, 0xffff, 0x0f38, 0xffff,
    0xfffb, 0xffff, 0xffff, 0xffff, 0x0fcf, 0xff8f, 0x0f0f, 0xf3ec,
};
// good_2byte_insns, as Linux 3.5 had it. Later kernels take more.
constexpr uint16_t TWO_BYTES[16] = {
    0xc000, 0xfeff, 0xff0f, 0x000e, 0xffff, 0xffff, 0xffff, 0xc0ff,
    0xffff, 0xffff, 0xbf3f, 0xfeff, 0xffff, 0xfffe, 0xffff, 0x7ffe,
};

bool has(const uint16_t (&rows)[16], uint8_t opcode) {
    return rows[opcode >> 4] >> (opcode & 15) & 1;
}

bool is_branch(const ZydisDecodedInstruction &decoded) {
    return decoded.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE &&
           decoded.mnemonic != ZYDIS_MNEMONIC_RET;
}

} // namespace

// What the kernel does without a single step: branch_setup_xol_ops() and push_setup_xol_ops() in
// arch/x86/kernel/uprobes.c. Newer kernels also emulate long nops, which older ones do not.
bool is_emulated(const ZydisDecodedInstruction &decoded) {
    if (has_refused_prefix(decoded))
        return false;
    bool operand_size = has_prefix(decoded, 0x66);
    uint8_t opcode = decoded.opcode;
    if (decoded.opcode_map == ZYDIS_OPCODE_MAP_0F)
        return (opcode & 0xf0) == 0x80 && !operand_size;
    if (decoded.opcode_map != ZYDIS_OPCODE_MAP_DEFAULT)
        return false;
    if (opcode == 0x90) // with REX.B it is an xchg, which the kernel would take for a nop
        return decoded.mnemonic == ZYDIS_MNEMONIC_NOP || decoded.mnemonic == ZYDIS_MNEMONIC_PAUSE;
    if (opcode == 0xe8 || opcode == 0xe9 || opcode == 0xeb || (opcode & 0xf0) == 0x70)
        return !operand_size;
    if (opcode >= 0x50 && opcode <= 0x57) {
        if (decoded.length == 1)
            return true;
        bool has_rex = decoded.attributes & ZYDIS_ATTRIB_HAS_REX;
        return decoded.length == 2 && has_rex && decoded.raw.rex.B && !decoded.raw.rex.W &&
               !decoded.raw.rex.R && !decoded.raw.rex.X;
    }
    return false;
}

bool is_optimized(const ZydisDecodedInstruction &decoded) {
    // 0f 1f 44 00 00
    return decoded.mnemonic == ZYDIS_MNEMONIC_NOP && decoded.length == 5 &&
           decoded.raw.prefix_count == 0 && decoded.raw.modrm.mod == 1 &&
           decoded.raw.modrm.reg == 0 && decoded.raw.modrm.rm == 4 && decoded.raw.sib.base == 0 &&
           decoded.raw.sib.index == 0 && decoded.raw.sib.scale == 0 && decoded.raw.disp.value == 0;
}

bool takes_probe(const ZydisDecodedInstruction &decoded) {
    if (has_refused_prefix(decoded))
        return false;
    // branch_setup_xol_ops(): AMD and Intel do not agree on what it means.
    if (is_branch(decoded) && has_prefix(decoded, 0x66))
        return false;
    // The kernel looks up the opcode of a VEX or EVEX instruction as if it were the first byte.
    if (decoded.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
        return has(ONE_BYTE, decoded.opcode);
    switch (decoded.opcode_map) {
    case ZYDIS_OPCODE_MAP_DEFAULT:
        return has(ONE_BYTE, decoded.opcode);
    case ZYDIS_OPCODE_MAP_0F:
        return has(TWO_BYTES, decoded.opcode);
    default:
        return false;
    }
}
