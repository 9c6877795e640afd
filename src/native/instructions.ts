/** Machine code, as far as probing is concerned. */

/**
 * What one instruction does, as far as probing is concerned. `instructions()` returns, for each
 * function asked for, the whole prologue (its first 24 instructions) and after that only those
 * that are not OTHER, in a Buffer of records, each INSTRUCTION_SIZE bytes, little endian:
 *   u32 index of the function in the request
 *   u32 offset from the function's start
 *   u8  length
 *   u8  kind (InstructionKind)
 *   u8  flags (InstructionFlag bits)
 *   u8  of a CONDITIONAL: its condition code (the opcode's low four bits; NO_FLAGS for loop and
 *       jrcxz); of an INDIRECT_JUMP: JumpDetail
 *   u32 of a CALL: bit n is set if integer registers n and n + 1 of Go's ABI were stored side by side
 *       on the stack by the instructions right before it, as arguments are before a stack grows;
 *       bit 16 + n, that register n was stored, or its lower part
 *       of any other: InstructionEffect bits
 *   f64 target: address of a direct branch or call; of an INDIRECT_JUMP through a table the lowest
 *       that it leads to in the function's first part, if that is known; NaN otherwise
 * A function that does not decode to its very end gets one record of kind UNDECODABLE at the
 * offset where it stopped, and no others.
 */
export const INSTRUCTION_SIZE = 24;
export const InstructionKind = {
  OTHER: 0,
  /** ret, also with an immediate or a rep prefix. */
  RETURN: 1,
  /** Direct jmp. */
  JUMP: 2,
  /** Direct conditional jump, loop and jrcxz included. */
  CONDITIONAL: 3,
  /** jmp through a register or memory. */
  INDIRECT_JUMP: 4,
  CALL: 5,
  INDIRECT_CALL: 6,
  /** push of one 64-bit register. */
  PUSH: 7,
  /** One-byte nop (0x90). */
  NOP: 8,
  /** ud2, hlt, int3, int: control does not come back. */
  TRAP: 9,
  /** endbr64. */
  ENDBR: 10,
  /** cmp of a memory operand at 0x10(%r14), or at 0x18(%r14), with a register: Go's stack check. */
  STACK_CHECK: 11,
  UNDECODABLE: 255,
} as const;
export const InstructionFlag = {
  /** push %rbp. */
  FRAME_PUSH: 1,
  /** jbe: taken when CF or ZF is set. */
  BELOW_EQUAL: 2,
  /** The stack pointer is read or written in another way than by push, call or ret. */
  TOUCHES_STACK_POINTER: 4,
  /** The kernel emulates it inside the breakpoint (push reg, nop, jmp, jcc rel8/rel32, call rel32), without a single step. */
  EMULATED: 8,
  /** Writes r14. */
  WRITES_R14: 16,
  /**
   * The nop of five bytes in whose place newer kernels put a call to a page of their own, so that
   * there is no trap (Linux 6.18). A forked child has the call and not the page, and dies of it: so
   * it never carries a probe.
   */
  OPTIMIZED: 32,
} as const;

export const JumpDetail = {
  /** Perhaps within the function, perhaps out of it. */
  UNKNOWN: 0,
  /** Surely through a table of places in its function. */
  TABLE: 1,
  /** Through the GOT, and so surely to another function. */
  GOT: 2,
} as const;
/** The detail of a CONDITIONAL that the flags do not decide. */
export const NO_FLAGS = 255;
/**
 * What an instruction does besides. Bits 0 to 15 are the general registers that it writes, or
 * parts of, as instructions encode them: rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 to r15. Bits 19
 * to 31 are by how many words it moves the stack pointer, signed: -1 is a push.
 */
export const InstructionEffect = {
  REGISTERS: 0xffff,
  /** Some kernel refuses a probe on it. */
  NOT_PROBED: 1 << 16,
  /** It moves the stack pointer, and how far cannot be told. */
  STACK_UNKNOWN: 1 << 17,
  /** It writes memory, and not through the stack pointer. */
  WRITES_MEMORY: 1 << 18,
  STACK_SHIFT: 19,
} as const;
