/**
 * The resource that a program's OpenTelemetry SDK holds, read from its memory: what the program sets
 * in code is told nowhere else. Nothing in it is trusted: counts and sizes are bounded, and what
 * contradicts itself is an error.
 */
import type { ResourceLayout } from '../plan/plan.js';
import type { ResourceValue } from '../spans/span.js';
import { ProcessMemory, withMemory } from './memory.js';

const MOST_ATTRIBUTES = 256;
const LONGEST_TEXT = 4_096;
const MOST_ELEMENTS = 128;

/** attribute.Type, the same in every version. */
const Kind = {
  BOOL: 1,
  INT64: 2,
  FLOAT64: 3,
  STRING: 4,
  BOOLS: 5,
  INT64S: 6,
  FLOAT64S: 7,
  STRINGS: 8,
} as const;

/** internal/abi.ArrayType: its kind, and its length behind element and slice type. */
const TYPE_KIND = 23;
const KIND_MASK = 31;
const KIND_ARRAY = 17;
const KIND_POINTER = 22;
const ARRAY_LENGTH = 64;
const ARRAY_TYPE_SIZE = 72;
const STRING_SIZE = 16;

class GoMemory extends ProcessMemory {
  text(header: Buffer): string {
    const length = header.readBigUInt64LE(8);
    if (length === 0n) return '';
    if (length > LONGEST_TEXT) throw new Error('a text is too long');
    return this.read(header.readBigUInt64LE(0), Number(length)).toString('utf8');
  }

  /** Elements of what an `any` holds, each of `size` bytes: [N]T, or up to v1.11.0 *[]T. */
  array(holder: Buffer, size: number, most: number): Buffer[] {
    const type = holder.readBigUInt64LE(0);
    if (type === 0n) return [];
    const descriptor = this.read(type, ARRAY_TYPE_SIZE);
    const kind = (descriptor[TYPE_KIND] ?? 0) & KIND_MASK;
    let address = holder.readBigUInt64LE(8);
    let count: bigint;
    if (kind === KIND_ARRAY) {
      count = descriptor.readBigUInt64LE(ARRAY_LENGTH);
      if (descriptor.readBigUInt64LE(0) !== count * BigInt(size)) {
        throw new Error('an array has another size than its elements');
      }
    } else if (kind === KIND_POINTER) {
      const slice = this.read(address, STRING_SIZE);
      address = slice.readBigUInt64LE(0);
      count = slice.readBigUInt64LE(8);
    } else {
      throw new Error('it is no array');
    }
    if (count > most) throw new Error('it has too many elements');
    if (count === 0n) return [];
    const data = this.read(address, Number(count) * size);
    return Array.from({ length: Number(count) }, (_, i) => data.subarray(i * size, (i + 1) * size));
  }
}

/** Throws what node:fs throws, and errors about what is read. */
export function readSdkResource(
  pid: number,
  tracer: bigint,
  layout: ResourceLayout,
): Record<string, ResourceValue> {
  return withMemory(GoMemory, `/proc/${pid}/mem`, (memory) => {
    const provider = memory.word(tracer + BigInt(layout.provider));
    const resource = memory.word(provider + BigInt(layout.resource));
    const attributes = Object.create(null) as Record<string, ResourceValue>;
    if (resource === 0n) return attributes;
    const holder = memory.read(resource + BigInt(layout.attributes), STRING_SIZE);
    for (const pair of memory.array(holder, layout.pairSize, MOST_ATTRIBUTES)) {
      const key = memory.text(pair.subarray(layout.key, layout.key + STRING_SIZE));
      const value = valueOf(memory, pair, layout);
      if (key !== '' && value !== null) attributes[key] = value;
    }
    return attributes;
  });
}

/** Null for a kind that a resource cannot have. */
function valueOf(memory: GoMemory, pair: Buffer, layout: ResourceLayout): ResourceValue | null {
  const slice = pair.subarray(layout.slice, layout.slice + STRING_SIZE);
  switch (pair.readUInt32LE(layout.kind)) {
    case Kind.BOOL:
      return pair.readBigUInt64LE(layout.number) !== 0n;
    case Kind.INT64:
      return Number(pair.readBigInt64LE(layout.number));
    case Kind.FLOAT64:
      return pair.readDoubleLE(layout.number);
    case Kind.STRING:
      return memory.text(pair.subarray(layout.text, layout.text + STRING_SIZE));
    case Kind.BOOLS:
      return memory.array(slice, 1, MOST_ELEMENTS).map((element) => element[0] !== 0);
    case Kind.INT64S:
      return memory.array(slice, 8, MOST_ELEMENTS).map((each) => Number(each.readBigInt64LE()));
    case Kind.FLOAT64S:
      return memory.array(slice, 8, MOST_ELEMENTS).map((element) => element.readDoubleLE());
    case Kind.STRINGS:
      return memory.array(slice, STRING_SIZE, MOST_ELEMENTS).map((each) => memory.text(each));
    default:
      return null;
  }
}
