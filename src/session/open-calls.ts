/** Calls that have begun and not ended, as the kernel's table holds them. */
import type { BpfMap } from '../native/native.js';
import {
  MAX_OPEN_CALLS,
  MAX_OWN_STACKS,
  openCall,
  ownStack,
  stack as stackLayout,
  stackKey,
} from '../spans/records.generated.js';

/** One stack's element: outermost call first. */
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

/** Bits of the key of a stack that a thread was started with, which may have a place of its own. */
const OWN_STACK = 3n;

/** As bpf/own_stacks.bpf.h has it. */
function ownPlace(stack: bigint, tgid: number): Buffer {
  const sum = stack + BigInt(tgid) * 0xd1b54a32d192ed03n;
  const mixed = BigInt.asUintN(64, sum * 0x9e3779b97f4a7c15n);
  const index = Buffer.alloc(4);
  index.writeUInt32LE(Number(((mixed >> 32n) * BigInt(MAX_OWN_STACKS)) >> 32n));
  return index;
}

const keyOf = (element: Buffer): Buffer => {
  const key = Buffer.alloc(stackKey.size);
  key.writeBigUInt64LE(element.readBigUInt64LE(ownStack.key), stackKey.stack);
  key.writeUInt32LE(element.readUInt32LE(ownStack.tgid), stackKey.tgid);
  return key;
};

/** The kernel's two tables: of the stacks that threads were started with, and of all others. */
export class OpenCalls {
  constructor(
    private readonly stacks: BpfMap,
    private readonly ownStacks: BpfMap,
  ) {}

  /** Those of one goroutine, or on one stack; null if it has ended. */
  on(stack: bigint, tgid: number): OpenStackCalls | null {
    const key = Buffer.alloc(stackKey.size);
    key.writeBigUInt64LE(stack, stackKey.stack);
    key.writeUInt32LE(tgid, stackKey.tgid);
    const own = this.own(key);
    if (own) return decode(key, own.element.subarray(ownStack.stack));
    const value = this.stacks.lookup(key);
    return value && decode(key, value);
  }

  /** All, or those of one process. */
  async all(tgid?: number): Promise<OpenStackCalls[]> {
    const found: OpenStackCalls[] = [];
    const take = (key: Buffer, value: Buffer): void => {
      if (tgid === undefined || key.readUInt32LE(stackKey.tgid) === tgid) {
        found.push(decode(key, value));
      }
    };
    const { keys, values } = await this.stacks.entries();
    for (let index = 0; index * stackKey.size < keys.length; index++) {
      take(
        keys.subarray(index * stackKey.size, (index + 1) * stackKey.size),
        values.subarray(index * stackLayout.size, (index + 1) * stackLayout.size),
      );
    }
    const elements = this.ownStacks.read(0, this.ownStacks.maxEntries);
    for (let at = 0; at < elements.length; at += ownStack.size) {
      const element = elements.subarray(at, at + ownStack.size);
      if (element.readBigUInt64LE(ownStack.key) === 0n) continue;
      take(keyOf(element), element.subarray(ownStack.stack));
    }
    return found;
  }

  /** Takes stacks, with what is open on them, out of the tables. */
  forget(open: readonly OpenStackCalls[]): void {
    for (const { key } of open) {
      const own = this.own(key);
      if (own) this.ownStacks.update(own.place, Buffer.alloc(ownStack.size));
      else this.stacks.delete(key);
    }
  }

  private own(key: Buffer): { place: Buffer; element: Buffer } | null {
    const stack = key.readBigUInt64LE(stackKey.stack);
    if (stack >> 62n !== OWN_STACK || this.ownStacks.maxEntries < MAX_OWN_STACKS) return null;
    const place = ownPlace(stack, key.readUInt32LE(stackKey.tgid));
    const element = this.ownStacks.lookup(place);
    return element && keyOf(element).equals(key) ? { place, element } : null;
  }
}
