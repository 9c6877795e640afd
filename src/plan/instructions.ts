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
  // An empty one that the addon made has no memory to view.
  if (records.length === 0) return groups;
  // Large modules have millions: a view reads them several times as fast as a Buffer.
  const view = new DataView(records.buffer, records.byteOffset, records.byteLength);
  for (let at = 0; at + INSTRUCTION_SIZE <= records.length; at += INSTRUCTION_SIZE) {
    const kind = view.getUint8(at + 9);
    const word = view.getUint32(at + 12, true);
    groups[view.getUint32(at, true)]?.push({
      offset: view.getUint32(at + 4, true),
      length: view.getUint8(at + 8),
      kind,
      flags: view.getUint8(at + 10),
      detail: view.getUint8(at + 11),
      target: view.getFloat64(at + 16, true),
      spilled: kind === InstructionKind.CALL ? word : 0,
      effects: kind === InstructionKind.CALL ? 0 : word,
    });
  }
  return groups;
}
