import type { FunctionTable, Module } from '../native/native.js';
import { groupByFunction } from './instructions.js';
import type { CodePart, FunctionCode } from './sites.js';

export interface CodeRange {
  address: number;
  size: number;
}

/** A function by its parts, the one with its entry first. */
export interface FunctionRanges extends CodeRange {
  parts: readonly CodeRange[];
}

/** By index of a function: where all of its code lies. */
export function rangesOf({
  addresses,
  sizes,
  parts,
}: FunctionTable): (index: number) => FunctionRanges {
  const further = new Map<number, CodeRange[]>();
  parts.functions.forEach((index, i) => {
    const range = { address: parts.addresses[i] ?? 0, size: parts.sizes[i] ?? 0 };
    further.set(index, [...(further.get(index) ?? []), range]);
  });
  return (index) => ({
    address: addresses[index] ?? 0,
    size: sizes[index] ?? 0,
    parts: further.get(index) ?? [],
  });
}

/** Decodes functions that may lie in several parts. */
export async function readCode(
  module: Module,
  functions: readonly FunctionRanges[],
): Promise<FunctionCode[]> {
  const count = functions.reduce((sum, { parts }) => sum + 1 + parts.length, 0);
  const addresses = new Float64Array(count);
  const sizes = new Float64Array(count);
  const owners = new Float64Array(count);
  let owner = 0;
  for (const body of functions) {
    let index = owner;
    const add = ({ address, size }: CodeRange): void => {
      addresses[index] = address;
      sizes[index] = size;
      owners[index++] = owner;
    };
    add(body);
    body.parts.forEach(add);
    owner = index;
  }
  const records = await module.instructions(addresses, sizes, owners);
  const groups = groupByFunction(records, count);
  const code: FunctionCode[] = [];
  let at = 0;
  const next = ({ address, size }: CodeRange): CodePart => ({
    address,
    size,
    instructions: groups[at++] ?? [],
  });
  for (const body of functions) {
    const main = next(body);
    code.push(body.parts.length > 0 ? { ...main, parts: body.parts.map(next) } : main);
  }
  return code;
}
