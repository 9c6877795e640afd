/** How the bytes of a value of C, C++ or Rust are shown, as its source would write it. */
import { getSystemErrorMap } from 'node:util';
import type { CallValue } from './call.js';
import { ValueState } from './records.generated.js';
import type { AttributeValue } from './span.js';
import { REDACTED, text, UNREADABLE } from './values.js';

interface Placed {
  /** Bytes before it, in the register or the record that it was read with. */
  skip: number;
  size: number;
}

/** Some bits of a number, from the lowest one of its first byte. */
export interface Bits {
  offset: number;
  size: number;
}

export interface NumberShape extends Placed {
  /** errno: a negative one is an error of the kernel's. */
  shape: 'bool' | 'int' | 'uint' | 'float' | 'char' | 'pointer' | 'errno';
  bits?: Bits;
}

export interface EnumShape extends Placed {
  shape: 'enum';
  isSigned: boolean;
  names: readonly { name: string; value: bigint }[];
  bits?: Bits;
}

/** Rust's enum with data. */
export interface VariantShape extends Placed {
  shape: 'variant';
  discriminant: Placed;
  /** `value`: null for all others. `content`: of a variant with one plain value in it. */
  variants: readonly { name: string; value: bigint | null; content: PlainShape | null }[];
  /** The content is shown without the name of its variant. */
  bare?: boolean;
}

export type PlainShape = NumberShape | EnumShape;

export type Shape =
  | PlainShape
  | VariantShape
  /** Text whose length came with it, or that ends with a zero; `none`: what a null pointer is. */
  | { shape: 'text'; none?: string }
  /** An array of characters, up to its first zero. */
  | ({ shape: 'characters' } & Placed)
  /** A slice, or an array; `element` is null where its elements are not shown. */
  | { shape: 'list'; element: PlainShape | null; type: string; skip: number; count: number | null };

const NO_ROOM = '[no room]';

export function renderShape(value: CallValue, shape: Shape, redacted: boolean): AttributeValue {
  if (redacted) return REDACTED;
  switch (value.state) {
    case ValueState.NIL:
      return (shape.shape === 'text' ? shape.none : undefined) ?? 'null';
    case ValueState.UNREADABLE:
      return UNREADABLE;
    case ValueState.NO_ROOM:
      return NO_ROOM;
  }
  const { data, length } = value;
  switch (shape.shape) {
    case 'text':
      return text(data, length);
    case 'characters': {
      const bytes = data.subarray(shape.skip, shape.skip + shape.size);
      const end = bytes.indexOf(0);
      return bytes.toString('utf8', 0, end < 0 ? bytes.length : end);
    }
    case 'list':
      return list(shape, data.subarray(shape.skip), shape.count ?? length);
    case 'variant':
      return variant(shape, data);
    default:
      return plain(shape, data);
  }
}

function plain(shape: PlainShape, data: Buffer): AttributeValue {
  const bytes = data.subarray(shape.skip, shape.skip + shape.size);
  if (bytes.length < shape.size) return UNREADABLE;
  switch (shape.shape) {
    case 'bool':
      return shape.bits ? whole(bytes, false, shape.bits) !== 0n : bytes[0] !== 0;
    case 'float':
      return shape.size === 4 ? bytes.readFloatLE() : bytes.readDoubleLE();
    case 'char':
      return character(bytes);
    case 'pointer': {
      const address = whole(bytes, false);
      return address === 0n ? 'null' : `0x${address.toString(16)}`;
    }
    case 'enum': {
      const value = whole(bytes, shape.isSigned, shape.bits);
      const named = shape.names.find((each) => same(each.value, value, shape.size));
      return named?.name ?? exact(value);
    }
    case 'errno':
      return errno(whole(bytes, true));
    default:
      return exact(whole(bytes, shape.shape === 'int', shape.bits));
  }
}

/** `-2 (ENOENT)` */
function errno(value: bigint): AttributeValue {
  const [name] = getSystemErrorMap().get(Number(value)) ?? [];
  return name === undefined ? exact(value) : `${value} (${name})`;
}

/** Of any number of bytes, or some of their bits. */
function whole(bytes: Buffer, isSigned: boolean, bits?: Bits): bigint {
  let value = 0n;
  for (let at = bytes.length - 1; at >= 0; at--) value = (value << 8n) | BigInt(bytes[at] ?? 0);
  const { offset, size } = bits ?? { offset: 0, size: 8 * bytes.length };
  value = BigInt.asUintN(size, value >> BigInt(offset));
  return isSigned ? BigInt.asIntN(size, value) : value;
}

const exact = (value: bigint): AttributeValue => {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value.toString();
};

/** Constants of DWARF may be wider than the value, or have lost their sign. */
const same = (a: bigint, b: bigint, size: number): boolean =>
  BigInt.asUintN(8 * size, a) === BigInt.asUintN(8 * size, b);

function character(bytes: Buffer): string {
  const code = Number(whole(bytes, false));
  return code < 0x20 || code === 0x7f || code > 0x10ffff || (bytes.length === 1 && code > 0x7f)
    ? `\\x${code.toString(16).padStart(2, '0')}`
    : String.fromCodePoint(code);
}

/** `Ok(3)`, `None`; of a variant with more than one plain value, or without the part, its name. */
function variant(shape: VariantShape, data: Buffer): AttributeValue {
  const { skip, size } = shape.discriminant;
  const bytes = data.subarray(skip, skip + size);
  if (bytes.length < size) return UNREADABLE;
  const value = whole(bytes, false);
  const found =
    shape.variants.find((each) => each.value !== null && same(each.value, value, size)) ??
    shape.variants.find((each) => each.value === null);
  if (!found) return UNREADABLE;
  if (!found.content) return found.name;
  const content = plain(found.content, data);
  return shape.bare ? content : `${found.name}(${content})`;
}

/** `[1 2 3 … 97 more]`, as Go's slices are shown. */
function list(
  { element, type }: { element: PlainShape | null; type: string },
  data: Buffer,
  length: number,
): string {
  if (!element) return `${type}(${length})`;
  const shown: string[] = [];
  for (let at = 0; at + element.size <= data.length && shown.length < length; at += element.size) {
    shown.push(String(plain(element, data.subarray(at))));
  }
  const more = length - shown.length;
  return `[${shown.join(' ')}${more > 0 ? ` … ${more} more` : ''}]`;
}
