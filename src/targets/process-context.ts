/**
 * The resource that a process publishes for others to read (OTEP 4719): a small mapping with a name
 * of its own, which points to a protobuf message. The process may change it at any time.
 */
import type { ResourceValue } from '../spans/span.js';
import { readMappings } from './mappings.js';
import { ProcessMemory, withMemory } from './memory.js';
import type { Procfs } from './procfs.js';
import { protobufFields } from './protobuf.js';

/** What is published, and when it was. */
export interface ProcessContext {
  /** Of the mapping. */
  address: bigint;
  /** Another whenever the process changes what it publishes. */
  publishedAt: bigint;
  /** Empty where it publishes other things only. */
  attributes: Record<string, ResourceValue>;
}

/** How the mapping is called: by a memfd, a name for memory, or both. */
const NAMES = ['[anon_shmem:OTEL_CTX]', '[anon:OTEL_CTX]', '/memfd:OTEL_CTX'];

const SIGNATURE = 'OTEL_CTX';
const VERSION = 2;
const HEADER_SIZE = 32;
const VERSION_AT = 8;
const SIZE_AT = 12;
const PUBLISHED_AT = 16;
const PAYLOAD_AT = 24;

const LARGEST_PAYLOAD = 64 << 10;
const MOST_ATTRIBUTES = 256;
const LONGEST_TEXT = 4_096;
const MOST_ELEMENTS = 128;
/** Of a process that changes it while it is read. */
const ATTEMPTS = 3;

/**
 * Null where the process publishes nothing that can be read. `last` is what was read before: the
 * same object is returned while the process has not changed it. Throws what node:fs throws.
 */
export function readProcessContext(
  pid: number,
  procfs: Procfs,
  last: ProcessContext | null = null,
): ProcessContext | null {
  return withMemory(ProcessMemory, procfs.path(pid, 'mem'), (memory) => {
    const again = last && readAt(memory, last.address, last);
    if (again) return again;
    for (const { name, start } of readMappings(procfs.path(pid, 'maps'), SIGNATURE)) {
      if (!NAMES.some((each) => name.startsWith(each))) continue;
      const found = readAt(memory, start, last);
      if (found) return found;
    }
    return null;
  });
}

/** Null where there is no context, or a broken one; `last` while it is being changed. */
function readAt(
  memory: ProcessMemory,
  address: bigint,
  last: ProcessContext | null,
): ProcessContext | null {
  const timeNow = (): bigint => memory.word(address + BigInt(PUBLISHED_AT));
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const header = memory.read(address, HEADER_SIZE);
      if (header.toString('latin1', 0, SIGNATURE.length) !== SIGNATURE) return null;
      if (header.readUInt32LE(VERSION_AT) !== VERSION) return null;
      const publishedAt = header.readBigUInt64LE(PUBLISHED_AT);
      if (publishedAt === 0n) continue;
      if (publishedAt === last?.publishedAt && address === last.address) return last;
      const payload = readPayload(memory, header);
      if (timeNow() !== publishedAt) continue;
      return payload && { address, publishedAt, attributes: decodeContext(payload) };
    }
    return last;
  } catch {
    return null;
  }
}

/** Null where it cannot be: perhaps it was changed meanwhile. */
function readPayload(memory: ProcessMemory, header: Buffer): Buffer | null {
  const size = header.readUInt32LE(SIZE_AT);
  if (size > LARGEST_PAYLOAD) return null;
  try {
    return memory.read(header.readBigUInt64LE(PAYLOAD_AT), size);
  } catch {
    return null;
  }
}

/** Message ProcessContext: the attributes of its Resource. Throws where it is none. */
export function decodeContext(message: Buffer): Record<string, ResourceValue> {
  // Without a prototype: the names are the program's, and one may be "__proto__".
  const attributes = Object.create(null) as Record<string, ResourceValue>;
  let count = 0;
  for (const resource of messagesAt(message, 1)) {
    for (const pair of messagesAt(resource, 1)) {
      if (++count > MOST_ATTRIBUTES) throw new Error('it has too many attributes');
      const [name] = messagesAt(pair, 1);
      const [value] = messagesAt(pair, 2);
      const read = value && decodeValue(value);
      if (name && name.length > 0 && read !== undefined && read !== null) {
        attributes[textOf(name)] = read;
      }
    }
  }
  return attributes;
}

/** What has a length, in the fields of this number. */
function messagesAt(message: Buffer, number: number): Buffer[] {
  const found: Buffer[] = [];
  for (const field of protobufFields(message)) {
    if (field.number === number && typeof field.value !== 'bigint') found.push(field.value);
  }
  return found;
}

function textOf(bytes: Buffer): string {
  if (bytes.length > LONGEST_TEXT) throw new Error('a text is too long');
  return bytes.toString('utf8');
}

/** Fields of AnyValue. */
const Value = { STRING: 1, BOOL: 2, INT: 3, DOUBLE: 4, ARRAY: 5 } as const;

type Plain = string | number | boolean;

/** Null for a kind that a resource cannot have. */
function decodeValue(message: Buffer): ResourceValue | null {
  let read: ResourceValue | null = null;
  for (const { number, value } of protobufFields(message)) {
    if (number === Value.ARRAY && typeof value !== 'bigint') read = decodeArray(value);
    else read = plainOf(number, value);
  }
  return read;
}

function plainOf(number: number, value: bigint | Buffer): Plain | null {
  if (typeof value === 'bigint') {
    if (number === Value.BOOL) return value !== 0n;
    return number === Value.INT ? Number(BigInt.asIntN(64, value)) : null;
  }
  if (number === Value.STRING) return textOf(value);
  return number === Value.DOUBLE && value.length === 8 ? value.readDoubleLE() : null;
}

/** Null unless all elements are of one plain kind. */
function decodeArray(message: Buffer): ResourceValue | null {
  const elements: Plain[] = [];
  for (const element of messagesAt(message, 1)) {
    for (const { number, value } of protobufFields(element)) {
      const plain = plainOf(number, value);
      if (plain === null) return null;
      elements.push(plain);
    }
    if (elements.length > MOST_ELEMENTS) throw new Error('it has too many elements');
  }
  const kinds = new Set(elements.map((element) => typeof element));
  return kinds.size > 1 ? null : (elements as string[] | number[] | boolean[]);
}
