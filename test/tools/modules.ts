import assert from 'node:assert/strict';

import { type FunctionTable, INSTRUCTION_SIZE, type Module } from '../../src/native/native.js';

export interface Row {
  name: string;
  address: number;
  size: number;
}

export function rows({ names, addresses, sizes }: FunctionTable): Row[] {
  return names.split('\n').map((name, i) => ({
    name,
    address: addresses[i] ?? NaN,
    size: sizes[i] ?? NaN,
  }));
}

export async function functionNamed(module: Module, name: string): Promise<Row> {
  const found = rows(await module.functions()).find((row) => row.name === name);
  assert.ok(found, `${name} is missing`);
  return found;
}

export interface Decoded {
  function: number;
  offset: number;
  length: number;
  kind: number;
  flags: number;
  target: number;
}

export function decode(records: Buffer): Decoded[] {
  const decoded: Decoded[] = [];
  for (let at = 0; at < records.length; at += INSTRUCTION_SIZE) {
    decoded.push({
      function: records.readUInt32LE(at),
      offset: records.readUInt32LE(at + 4),
      length: records.readUInt8(at + 8),
      kind: records.readUInt8(at + 9),
      flags: records.readUInt8(at + 10),
      target: records.readDoubleLE(at + 16),
    });
  }
  return decoded;
}

export const instructionsOf = async (module: Module, { address, size }: Row): Promise<Decoded[]> =>
  decode(await module.instructions(Float64Array.of(address), Float64Array.of(size)));
