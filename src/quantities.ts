/** Durations, shares and sizes as people write them, on the command line and in files. */
import { MAX_CONTEXT_HOPS } from './spans/records.generated.js';

/** The message lacks its subject, which only the place knows where it was written. */
export class InvalidQuantity extends Error {
  constructor(what: string, example: string) {
    super(`${what}; write ${example}`);
  }
}

const UNITS: Record<string, number> = {
  ns: 1,
  us: 1e3,
  µs: 1e3,
  μs: 1e3,
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3_600e9,
};

const DURATION = /^(?:\d+(?:\.\d+)?(?:ns|us|µs|μs|ms|s|m|h))+$/;

/** `1ms`, `30s`, `1m30s`, `1.5s`, in nanoseconds. 0 needs no unit. */
export function parseDuration(text: string): number {
  if (text === '0') return 0;
  if (!DURATION.test(text)) {
    throw new InvalidQuantity(
      'is not a duration',
      "a number with its unit: '500us', '1ms', '30s', '1m30s'",
    );
  }
  let sum = 0;
  for (const [, number, unit] of text.matchAll(/([\d.]+)(\D+)/g)) {
    sum += Number(number) * (UNITS[unit ?? ''] ?? Number.NaN);
  }
  if (!Number.isSafeInteger(Math.round(sum))) {
    throw new InvalidQuantity('is too long', 'no more than 100 days');
  }
  return Math.round(sum);
}

/** A duration for a timer, in milliseconds: Node's take 31 bits. */
export function parseTimeout(text: string): number {
  const ms = parseDuration(text) / 1e6;
  if (ms > 0x7fffffff) throw new InvalidQuantity('is too long', 'no more than 24 days');
  return ms;
}

/** A share that allows something. */
export function parseBudget(text: string): number {
  const share = parseShare(text);
  if (share === 0) throw new InvalidQuantity('would allow nothing', 'more');
  return share;
}

/** `0.1` or `10%`, from 0 to 1. */
export function parseShare(text: string): number {
  const match = /^(\d+(?:\.\d+)?|\.\d+)(%?)$/.exec(text);
  const share = match ? Number(match[1]) / (match[2] ? 100 : 1) : Number.NaN;
  if (!(share >= 0 && share <= 1)) {
    throw new InvalidQuantity('is not a share', "it from 0 to 1, or in percent: '0.1', '10%'");
  }
  return share;
}

export function parseCount(text: string): number {
  const count = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(count)) {
    throw new InvalidQuantity('is not a whole number', "one, such as '100'");
  }
  return count;
}

export function parsePositive(text: string): number {
  const count = parseCount(text);
  if (count === 0) throw new InvalidQuantity('is less than 1', "a number, such as '100'");
  return count;
}

/** How far contexts are followed; the bound is MAX_CONTEXT_HOPS of records.h. */
export function parseHops(text: string): number {
  const count = parsePositive(text);
  if (count > MAX_CONTEXT_HOPS) {
    throw new InvalidQuantity('is too many', `${MAX_CONTEXT_HOPS} or fewer`);
  }
  return count;
}

/** Not negative, and may have a fraction. */
export function parseRate(text: string): number {
  if (!/^\d+(?:\.\d+)?$/.test(text)) {
    throw new InvalidQuantity('is not a rate', "a number: '100', '0.5'");
  }
  return Number(text);
}

function bytesOf(text: string): number {
  const match = /^(\d+)([KMG]?)(?:i?B)?$/i.exec(text);
  const shift = { '': 0, K: 10, M: 20, G: 30 }[(match?.[2] ?? '').toUpperCase()] ?? 0;
  return match ? Number(match[1]) * 2 ** shift : Number.NaN;
}

/** `64K`, `8M`, `1GiB`, in bytes; units are powers of two, and there is at least one byte. */
export function parseSize(text: string): number {
  const bytes = bytesOf(text);
  if (!(Number.isSafeInteger(bytes) && bytes > 0)) {
    throw new InvalidQuantity('is not a size', "a number with its unit: '64KiB', '8MiB', '1GiB'");
  }
  return bytes;
}

/** `64K`, `8M`, `1G`: a power of two from 4 KiB to 1 GiB, as BPF ring buffers have to be. */
export function parseRingSize(text: string): number {
  const bytes = bytesOf(text);
  const power = Math.log2(bytes);
  if (!(Number.isInteger(power) && power >= 12 && power <= 30)) {
    throw new InvalidQuantity('is no size for a ring buffer', 'a power of two from 4K to 1G: 8M');
  }
  return bytes;
}
