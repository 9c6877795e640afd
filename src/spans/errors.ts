/** What a call's error or panic says: its text where that could be read, and its type. */
import { getSystemErrorMap } from 'node:util';
import type { CallValue } from './call.js';
import { ValueState } from './records.generated.js';
import { text } from './values.js';

export interface ErrorInfo {
  message: string | null;
  /** Dynamic type, as Go writes it; null where it is not known. */
  type: string | null;
}

/** struct { x int64; y int; signed bool; code uint8 }, and how each code is told (runtime/error.go). */
const BOUNDS_FORMATS = [
  'index out of range [%x] with length %y',
  'slice bounds out of range [:%x] with length %y',
  'slice bounds out of range [:%x] with capacity %y',
  'slice bounds out of range [%x:%y]',
  'slice bounds out of range [::%x] with length %y',
  'slice bounds out of range [::%x] with capacity %y',
  'slice bounds out of range [:%x:%y]',
  'slice bounds out of range [%x:%y:]',
  'cannot convert slice with length %x to array or pointer to array with length %y',
];

export function errorInfo(
  value: CallValue,
  typeName: (address: number) => string | null,
): ErrorInfo {
  const type = typeName(value.type);
  return { type, message: messageOf(value, type) };
}

function messageOf({ state, data, length }: CallValue, type: string | null): string | null {
  if (state === ValueState.UNREADABLE || state === ValueState.NIL) return null;
  if (type === 'runtime.boundsError') return data.length >= 18 ? boundsError(data) : null;
  if ((type === 'int' || type === 'int64') && data.length >= 8) {
    return data.readBigInt64LE().toString();
  }
  if (type === 'syscall.Errno' && data.length >= 8) return errno(data.readBigUInt64LE());
  if (data.length === 0 && length === 0) return null;
  // What is no text has no length.
  return length === 0 ? `${type ?? ''}(0x${data.toString('hex')})` : text(data, length);
}

/** As the C library has it; Go's own texts are the same for all but a few. */
function errno(number: bigint): string {
  const [, message] = getSystemErrorMap().get(-Number(number)) ?? [];
  return message ?? `errno ${number}`;
}

function boundsError(data: Buffer): string {
  const format = BOUNDS_FORMATS[data[17] ?? 0] ?? 'index out of range';
  const x = data[16] === 0 ? data.readBigUInt64LE(0) : data.readBigInt64LE(0);
  const message = format
    .replace('%x', x.toString())
    .replace('%y', data.readBigInt64LE(8).toString());
  // A negative index is told without the length.
  return `runtime error: ${x < 0n ? message.replace(/ with (?:length|capacity).*/, '') : message}`;
}
