/** Where calls allocated, as the kernel counted it: by the innermost traced function and frames. */
import type { BpfMap } from '../native/native.js';
import {
  allocationKey,
  allocationRest,
  allocationStack,
  MAX_ALLOCATION_FRAMES,
} from '../spans/records.generated.js';

export interface CountedStack {
  functionIndex: number;
  bytes: number;
  samples: number;
  /** Return addresses in the function's module, innermost first. */
  frames: number[];
  /** There are more. */
  isCut: boolean;
}

/** What found no room. */
export interface CountedRest {
  bytes: number;
  samples: number;
}

export async function readAllocationStacks(map: BpfMap): Promise<CountedStack[]> {
  const { keys, values } = await map.entries();
  const word = (at: number): number => Number(values.readBigUInt64LE(at));
  return Array.from({ length: keys.length / allocationKey.size }, (_, index) => {
    const at = index * allocationStack.size;
    const length = Math.min(values.readUInt32LE(at + allocationStack.count), MAX_ALLOCATION_FRAMES);
    return {
      functionIndex: keys.readUInt32LE(index * allocationKey.size + allocationKey.function),
      bytes: word(at + allocationStack.bytes),
      samples: word(at + allocationStack.samples),
      frames: Array.from({ length }, (_, frame) => word(at + allocationStack.frames + 8 * frame)),
      isCut: values.readUInt32LE(at + allocationStack.cut) !== 0,
    };
  });
}

export function readAllocationRest(map: BpfMap): CountedRest {
  const rest = map.read(0, 1);
  return {
    bytes: Number(rest.readBigUInt64LE(allocationRest.bytes)),
    samples: Number(rest.readBigUInt64LE(allocationRest.samples)),
  };
}

/** Takes a function's stacks out, for its number will be another function's. */
export async function forgetAllocationStacks(
  map: BpfMap,
  first: number,
  count: number,
): Promise<void> {
  const { keys } = await map.entries();
  for (let at = 0; at < keys.length; at += allocationKey.size) {
    const index = keys.readUInt32LE(at + allocationKey.function);
    if (index < first || index >= first + count) continue;
    map.delete(keys.subarray(at, at + allocationKey.size));
  }
}
