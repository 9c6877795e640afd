import { INSTRUCTION_SIZE, InstructionKind } from '../native/native.js';

/** One decoded instruction; see native.ts for what is kept. */
export interface Instruction {
  /** From the function's start, in bytes. */
  offset: number;
  length: number;
  kind: number;
  flags: number;
  /** Address of a direct branch or call; NaN otherwise. */
  target: number;
  /** Of a call; see native.ts. */
  spilled: number;
}

/** The addon's records, by index of the function in the request. */
export function groupByFunction(records: Buffer, functions: number): Instruction[][] {
  const groups: Instruction[][] = Array.from({ length: functions }, () => []);
  for (let at = 0; at + INSTRUCTION_SIZE <= records.length; at += INSTRUCTION_SIZE) {
    groups[records.readUInt32LE(at)]?.push({
      offset: records.readUInt32LE(at + 4),
      length: records[at + 8] ?? 0,
      kind: records[at + 9] ?? InstructionKind.UNDECODABLE,
      flags: records[at + 10] ?? 0,
      target: records.readDoubleLE(at + 16),
      spilled: records.readUInt32LE(at + 12),
    });
  }
  return groups;
}
