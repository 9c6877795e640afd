/**
 * Protocol Buffers into one buffer that is used again. Messages within messages are written in
 * place: their length is filled in when they end.
 */

/** Most are between 128 bytes and 16 KiB. */
const LENGTH_BYTES = 2;
const SMALLEST = 1 << 16;
/** Texts that come again and again, such as names of functions; others are encoded anew. */
const MAX_TEXTS = 4_096;
const LONGEST_TEXT = 256;
/** Below, a loop is faster than a call. */
const SHORT = 48;

const DIGITS = new Uint8Array(128);
for (let digit = 0; digit < 16; digit++) {
  const text = digit.toString(16);
  DIGITS[text.charCodeAt(0)] = digit;
  DIGITS[text.toUpperCase().charCodeAt(0)] = digit;
}

export const varintSize = (value: number): number => {
  let size = 1;
  for (let rest = value; rest >= 128; rest /= 128) size++;
  return size;
};

export class ProtobufWriter {
  private buffer = Buffer.allocUnsafeSlow(SMALLEST);
  private view = viewOf(this.buffer);
  private at = 0;
  private readonly texts = new Map<string, Uint8Array>();

  get size(): number {
    return this.at;
  }

  /** A copy of all since clear(). */
  bytes(): Buffer {
    return Buffer.from(this.buffer.subarray(0, this.at));
  }

  clear(): void {
    this.at = 0;
  }

  /** What follows up to end() is a message. `tag`: its field and wire type, below 128 as all here. */
  begin(tag: number): number {
    this.reserve(16);
    this.buffer[this.at] = tag;
    this.at += 1 + LENGTH_BYTES;
    return this.at;
  }

  end(start: number): void {
    const length = this.at - start;
    const shift = varintSize(length) - LENGTH_BYTES;
    if (shift !== 0) {
      this.reserve(16);
      this.buffer.copyWithin(start + shift, start, this.at);
    }
    this.at = start - LENGTH_BYTES;
    this.varint(length);
    this.at += length;
  }

  /** Without what makes room: for what is small, after reserve(). */
  byte(value: number): void {
    this.buffer[this.at++] = value;
  }

  /** Whole, and not negative. */
  varint(value: number): void {
    const { buffer } = this;
    let { at } = this;
    let rest = value;
    for (; rest >= 0x8000_0000; rest = Math.floor(rest / 128)) buffer[at++] = (rest % 128) | 128;
    for (; rest >= 128; rest >>>= 7) buffer[at++] = (rest & 127) | 128;
    buffer[at++] = rest;
    this.at = at;
  }

  /** As int64: what is negative takes ten bytes. */
  int64(value: number): void {
    if (value >= 0 && value <= Number.MAX_SAFE_INTEGER) return this.varint(value);
    let rest = BigInt.asUintN(64, BigInt(value));
    for (; rest >= 128n; rest >>= 7n) this.byte(Number(rest & 127n) | 128);
    this.byte(Number(rest));
  }

  fixed32(value: number): void {
    this.view.setUint32(this.at, value, true);
    this.at += 4;
  }

  fixed64(value: bigint): void {
    this.view.setBigUint64(this.at, value, true);
    this.at += 8;
  }

  double(value: number): void {
    this.view.setFloat64(this.at, value, true);
    this.at += 8;
  }

  /** Bytes that are given as hexadecimal digits. */
  hex(tag: number, digits: string): void {
    const { buffer } = this;
    const size = digits.length >> 1;
    buffer[this.at++] = tag;
    buffer[this.at++] = size;
    for (let index = 0; index < size; index++) {
      const high = DIGITS[digits.charCodeAt(2 * index) & 127] ?? 0;
      const low = DIGITS[digits.charCodeAt(2 * index + 1) & 127] ?? 0;
      buffer[this.at++] = (high << 4) | low;
    }
  }

  string(tag: number, text: string): void {
    this.utf8(tag, this.textOf(text));
  }

  utf8(tag: number, bytes: Uint8Array): void {
    this.reserve(bytes.length + 16);
    this.byte(tag);
    this.varint(bytes.length);
    this.raw(bytes);
  }

  /** Bytes as they are. */
  raw(bytes: Uint8Array): void {
    const { length } = bytes;
    this.reserve(length);
    const { buffer, at } = this;
    if (length < SHORT) {
      for (let index = 0; index < length; index++) buffer[at + index] = bytes[index] ?? 0;
    } else {
      buffer.set(bytes, at);
    }
    this.at = at + length;
  }

  textOf(text: string): Uint8Array {
    const known = this.texts.get(text);
    if (known) return known;
    const bytes = Buffer.from(text);
    if (text.length <= LONGEST_TEXT) {
      if (this.texts.size >= MAX_TEXTS) this.texts.clear();
      this.texts.set(text, bytes);
    }
    return bytes;
  }

  reserve(size: number): void {
    if (this.at + size <= this.buffer.length) return;
    const larger = Buffer.allocUnsafeSlow(2 * (this.at + size));
    this.buffer.copy(larger, 0, 0, this.at);
    this.buffer = larger;
    this.view = viewOf(larger);
  }
}

function viewOf({ buffer, byteOffset, length }: Buffer): DataView {
  return new DataView(buffer, byteOffset, length);
}
