/** The bytes that were read from a call → attributes, as a Go programmer would write them. */
import type { GoType } from '../native/native.js';
import type { CallValue } from './call.js';
import { ValueState } from './records.generated.js';
import type { AttributeValue } from './span.js';

export const REDACTED = '[redacted]';
export const UNREADABLE = '[unreadable]';
const NO_ROOM = '[no room]';

/** One value that was planned; null if the call had none, as when it was cut short. */
export function renderValue(
  value: CallValue,
  type: GoType,
  redacted: boolean,
  typeName: (address: number) => string | null,
): AttributeValue {
  if (redacted) return REDACTED;
  switch (value.state) {
    case ValueState.NIL:
      return 'nil';
    case ValueState.UNREADABLE:
      return UNREADABLE;
    case ValueState.NO_ROOM:
      return NO_ROOM;
  }
  const { data, length } = value;
  switch (type.kind) {
    case 'string':
      return text(data, length);
    case 'slice':
      return type.element === 'uint8' || type.element === 'byte'
        ? bytes(data, length)
        : slice(type, data, length);
    case 'map':
      return `map[${length}]`;
    case 'interface':
      return typeName(value.type) ?? `type at 0x${value.type.toString(16)}`;
    default:
      return plain(type, data);
  }
}

/** A string of the program's; "…" stands for what was cut off. */
export function text(data: Buffer, length: number): string {
  const cut = length > data.length;
  const shown = data.toString('utf8');
  // What was cut off may end within a character.
  return cut ? `${shown.replace(/\ufffd+$/, '')}…` : shown;
}

function bytes(data: Buffer, length: number): string {
  const shown = data.toString('utf8');
  if (!/[\0-\x08\x0e-\x1f\ufffd]/.test(shown.replace(/\ufffd{1,3}$/, ''))) {
    return text(data, length);
  }
  return `0x${data.toString('hex')}${length > data.length ? '…' : ''}`;
}

const ELEMENT = /^(u?int(?:8|16|32|64)?|uintptr|float(?:32|64)|bool|byte|rune)$/;
const SIZES: Record<string, number> = {
  int: 8,
  uint: 8,
  uintptr: 8,
  byte: 1,
  rune: 4,
  bool: 1,
};

/** `[1 2 3 … 97 more]`; elements that are no plain numbers are only counted. */
function slice(type: GoType, data: Buffer, length: number): string {
  const element = type.element ?? '';
  if (!ELEMENT.test(element)) return `${type.name}(${length})`;
  const size = SIZES[element] ?? Number(/\d+$/.exec(element)?.[0] ?? 64) / 8;
  const shown: string[] = [];
  for (let at = 0; at + size <= data.length; at += size) {
    shown.push(String(number(element, data.subarray(at, at + size))));
  }
  const more = length - shown.length;
  return `[${shown.join(' ')}${more > 0 ? ` … ${more} more` : ''}]`;
}

function number(kind: string, data: Buffer): AttributeValue {
  if (kind === 'bool') return data[0] !== 0;
  if (kind.startsWith('float')) return data.length === 4 ? data.readFloatLE() : data.readDoubleLE();
  const signed = kind.startsWith('int') || kind === 'rune';
  if (data.length < 8) {
    return signed ? data.readIntLE(0, data.length) : data.readUIntLE(0, data.length);
  }
  const value = signed ? data.readBigInt64LE() : data.readBigUInt64LE();
  const exact = Number(value);
  return Number.isSafeInteger(exact) ? exact : value.toString();
}

function plain(type: GoType, data: Buffer): AttributeValue {
  if (data.length < Math.min(type.size, data.length || 1)) return UNREADABLE;
  if (type.name === 'time.Duration' && data.length >= 8) return duration(data.readBigInt64LE());
  if (type.name === 'time.Time' && data.length >= 24) return time(data);
  switch (type.kind) {
    case 'bool':
    case 'int':
    case 'uint':
    case 'float':
      return number(type.kind, data.subarray(0, type.size));
    case 'complex': {
      const half = type.size / 2;
      const part = (at: number): AttributeValue => number('float', data.subarray(at, at + half));
      return `(${String(part(0))}+${String(part(half))}i)`;
    }
    case 'array':
      return type.element === 'uint8' || type.element === 'byte'
        ? data.subarray(0, type.size).toString('hex')
        : slice(type, data, type.count ?? 0);
    case 'pointer':
    case 'func':
    case 'chan':
      return data.length >= 8 && data.readBigUInt64LE() === 0n ? 'nil' : type.name;
    default:
      return `0x${data.toString('hex')}`;
  }
}

const UNITS: [bigint, string][] = [
  [3_600_000_000_000n, 'h'],
  [60_000_000_000n, 'm'],
];

/** As time.Duration.String has it: "1h2m3.5s", "1.5ms", "0s". */
export function duration(ns: bigint): string {
  if (ns === 0n) return '0s';
  const sign = ns < 0n ? '-' : '';
  let rest = ns < 0n ? -ns : ns;
  const decimal = (per: bigint, unit: string): string => {
    const digits = per.toString().length - 1;
    const fraction = (rest % per).toString().padStart(digits, '0').replace(/0+$/, '');
    return `${rest / per}${fraction === '' ? '' : `.${fraction}`}${unit}`;
  };
  if (rest < 1_000n) return `${sign}${rest}ns`;
  if (rest < 1_000_000n) return `${sign}${decimal(1_000n, 'µs')}`;
  if (rest < 1_000_000_000n) return `${sign}${decimal(1_000_000n, 'ms')}`;
  let shown = sign;
  for (const [per, unit] of UNITS) {
    if (rest >= per || shown !== sign) shown += `${rest / per}${unit}`;
    rest %= per;
  }
  return shown + decimal(1_000_000_000n, 's');
}

/** struct { wall uint64; ext int64; loc *Location } (time/time.go): seconds since year 1, or, with a
 * monotonic reading, since 1885 in 33 bits of `wall`. */
function time(data: Buffer): string {
  const HAS_MONOTONIC = 1n << 63n;
  const YEAR_1_TO_1885 = 59_453_308_800n;
  const YEAR_1_TO_1970 = 62_135_596_800n;
  const wall = data.readBigUInt64LE(0);
  const seconds =
    (wall & HAS_MONOTONIC) !== 0n
      ? YEAR_1_TO_1885 + (((wall << 1n) % (1n << 64n)) >> 31n)
      : data.readBigInt64LE(8);
  const unix = seconds - YEAR_1_TO_1970;
  const nanoseconds = (wall & ((1n << 30n) - 1n)).toString().padStart(9, '0');
  const date = new Date(Number(unix) * 1_000);
  if (Number.isNaN(date.getTime())) return `${unix}.${nanoseconds}s`;
  const fraction = nanoseconds.replace(/0+$/, '');
  return date.toISOString().replace(/\.\d+Z$/, `${fraction === '' ? '' : `.${fraction}`}Z`);
}

/** Return addresses of a stack, innermost first. */
export function addressesIn(data: Buffer): number[] {
  const addresses: number[] = [];
  for (let at = 0; at + 8 <= data.length; at += 8) {
    const address = Number(data.readBigUInt64LE(at));
    if (address <= Number.MAX_SAFE_INTEGER) addresses.push(address);
  }
  return addresses;
}
