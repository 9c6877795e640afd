/** Calls that have begun and not ended, as the kernel's table holds them. */
import type { BpfMap } from '../native/native.js';
import {
  MAX_OPEN_CALLS,
  openCall,
  stack as stackLayout,
  stackKey,
} from '../spans/records.generated.js';

/** One goroutine's element: outermost call first. */
export interface OpenStackCalls {
  key: Buffer;
  tgid: number;
  goroutineId: bigint;
  /** Its struct open_call elements, in the order in which they began. */
  calls: Buffer[];
}

/** Number of the function that an open call is one of. */
export const functionOf = (call: Buffer): number => call.readUInt32LE(openCall.function);

function decode(key: Buffer, value: Buffer): OpenStackCalls {
  const depth = Math.min(value.readUInt32LE(stackLayout.depth), MAX_OPEN_CALLS);
  const calls = Array.from({ length: depth }, (_, index) => {
    const at = stackLayout.calls + index * openCall.size;
    return value.subarray(at, at + openCall.size);
  });
  return {
    key,
    tgid: key.readUInt32LE(stackKey.tgid),
    goroutineId: value.readBigUInt64LE(stackLayout.id),
    calls,
  };
}

/** The open calls of one goroutine; null if it has ended. */
export function openCallsOn(table: BpfMap, stack: bigint, tgid: number): OpenStackCalls | null {
  const key = Buffer.alloc(stackKey.size);
  key.writeBigUInt64LE(stack, stackKey.stack);
  key.writeUInt32LE(tgid, stackKey.tgid);
  const value = table.lookup(key);
  return value && decode(key, value);
}

/** All goroutines that have open calls, or those of one process. */
export async function allOpenCalls(table: BpfMap, tgid?: number): Promise<OpenStackCalls[]> {
  const { keys, values } = await table.entries();
  const found: OpenStackCalls[] = [];
  for (let index = 0; index * stackKey.size < keys.length; index++) {
    const key = keys.subarray(index * stackKey.size, (index + 1) * stackKey.size);
    if (tgid !== undefined && key.readUInt32LE(stackKey.tgid) !== tgid) continue;
    found.push(
      decode(key, values.subarray(index * stackLayout.size, (index + 1) * stackLayout.size)),
    );
  }
  return found;
}
