/**
 * A segment of the spool: one encoded request in a file of its own. Its name says what must be
 * known without reading it, and what changes: SEQUENCE-SPANS-UNCERTAIN.otlp.
 */
import { createHash } from 'node:crypto';

export interface Segment {
  readonly sequence: number;
  readonly spans: number;
  /** Tries whose answer was missed; one more while one is under way. */
  uncertain: number;
  /** Of the file. */
  readonly bytes: number;
}

const MAGIC = Buffer.from('UNDSPOL1');
const LENGTH_AT = 8;
const SPANS_AT = 12;
const CHECKSUM_AT = 16;
const CHECKSUM_SIZE = 16;
export const HEADER_SIZE = CHECKSUM_AT + CHECKSUM_SIZE;

/** Far above a request's own bound, so that a size that makes no sense is not read. */
export const LARGEST_SEGMENT = 64 * 1024 * 1024;

const NAME = /^(\d{15})-(\d{1,7})-(\d{1,4})\.otlp$/;
const LARGEST_UNCERTAIN = 9_999;

export function nameOf({ sequence, spans, uncertain }: Omit<Segment, 'bytes'>): string {
  const tries = Math.min(uncertain, LARGEST_UNCERTAIN);
  return `${String(sequence).padStart(15, '0')}-${spans}-${tries}.otlp`;
}

/** null: not a segment. */
export function parseName(name: string): Omit<Segment, 'bytes'> | null {
  const [, sequence, spans, uncertain] = NAME.exec(name) ?? [];
  if (sequence === undefined) return null;
  return { sequence: Number(sequence), spans: Number(spans), uncertain: Number(uncertain) };
}

/** What goes before the payload. */
export function header(payload: Uint8Array, spans: number): Buffer {
  const bytes = Buffer.alloc(HEADER_SIZE);
  MAGIC.copy(bytes);
  bytes.writeUInt32LE(payload.length, LENGTH_AT);
  bytes.writeUInt32LE(spans, SPANS_AT);
  checksum(bytes, payload).copy(bytes, CHECKSUM_AT);
  return bytes;
}

/** The payload of a file; null where it is not whole, or not what its name says. */
export function payloadOf(file: Buffer, spans: number): Uint8Array | null {
  if (file.length < HEADER_SIZE || !file.subarray(0, MAGIC.length).equals(MAGIC)) return null;
  const payload = file.subarray(HEADER_SIZE);
  if (file.readUInt32LE(LENGTH_AT) !== payload.length) return null;
  if (file.readUInt32LE(SPANS_AT) !== spans) return null;
  const stored = file.subarray(CHECKSUM_AT, HEADER_SIZE);
  return checksum(file, payload).equals(stored) ? payload : null;
}

/** Against torn and rotten files, not against an adversary: the folder is ours alone. */
function checksum(head: Buffer, payload: Uint8Array): Buffer {
  const hash = createHash('sha256').update(head.subarray(0, CHECKSUM_AT)).update(payload);
  return hash.digest().subarray(0, CHECKSUM_SIZE);
}
