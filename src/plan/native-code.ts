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
  const ranges: CodeRange[] = [];
  const owners: number[] = [];
  for (const body of functions) {
    const owner = ranges.length;
    for (const range of [body, ...body.parts]) {
      ranges.push(range);
      owners.push(owner);
    }
  }
  const records = await module.instructions(
    Float64Array.from(ranges, ({ address }) => address),
    Float64Array.from(ranges, ({ size }) => size),
    Float64Array.from(owners),
  );
  const groups = groupByFunction(records, ranges.length);
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
