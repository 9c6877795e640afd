import { INSTRUCTION_SIZE, InstructionKind } from '../native/native.js';

/** One decoded instruction; see native/instructions.ts for what is kept. */
export interface Instruction {
  /** From the function's start, in bytes. */
  offset: number;
  length: number;
  kind: number;
  flags: number;
  /** Of a conditional or an indirect jump; see native/instructions.ts. */
  detail: number;
  /** Address of a direct branch or call, lowest of a table's; NaN otherwise. */
  target: number;
  /** Of a call; see native/instructions.ts. */
  spilled: number;
  /** Of all but calls: InstructionEffect bits. */
  effects: number;
}

/** The addon's records, by index of the function in the request. */
export function groupByFunction(records: Buffer, functions: number): Instruction[][] {
  const groups: Instruction[][] = Array.from({ length: functions }, () => []);
  for (let at = 0; at + INSTRUCTION_SIZE <= records.length; at += INSTRUCTION_SIZE) {
    const kind = records[at + 9] ?? InstructionKind.UNDECODABLE;
    const word = records.readUInt32LE(at + 12);
    groups[records.readUInt32LE(at)]?.push({
      offset: records.readUInt32LE(at + 4),
      length: records[at + 8] ?? 0,
      kind,
      flags: records[at + 10] ?? 0,
      detail: records[at + 11] ?? 0,
      target: records.readDoubleLE(at + 16),
      spilled: kind === InstructionKind.CALL ? word : 0,
      effects: kind === InstructionKind.CALL ? 0 : word,
    });
  }
  return groups;
}
