import { InvalidArgumentError } from 'commander';
import { MAX_CONTEXT_HOPS } from '../src/spans/records.generated.js';

/** Commander puts the option and the argument before it. */
const invalid = (what: string, example: string): InvalidArgumentError =>
  new InvalidArgumentError(`It ${what}; write ${example}.`);

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
    throw invalid('is not a duration', "a number with its unit: '500us', '1ms', '30s', '1m30s'");
  }
  let sum = 0;
  for (const [, number, unit] of text.matchAll(/([\d.]+)(\D+)/g)) {
    sum += Number(number) * (UNITS[unit ?? ''] ?? Number.NaN);
  }
  if (!Number.isSafeInteger(Math.round(sum))) {
    throw invalid('is too long', 'no more than 100 days');
  }
  return Math.round(sum);
}

/** A duration for a timer, in milliseconds: Node's take 31 bits. */
export function parseTimeout(text: string): number {
  const ms = parseDuration(text) / 1e6;
  if (ms > 0x7fffffff) throw invalid('is too long', 'no more than 24 days');
  return ms;
}

/** `0.1` or `10%`, from 0 to 1. */
export function parseShare(text: string): number {
  const match = /^(\d+(?:\.\d+)?|\.\d+)(%?)$/.exec(text);
  const share = match ? Number(match[1]) / (match[2] ? 100 : 1) : Number.NaN;
  if (!(share >= 0 && share <= 1)) {
    throw invalid('is not a share', "it from 0 to 1, or in percent: '0.1', '10%'");
  }
  return share;
}

export function parseCount(text: string): number {
  const count = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(count)) throw invalid('is not a whole number', "one, such as '100'");
  return count;
}

export function parsePositive(text: string): number {
  const count = parseCount(text);
  if (count === 0) throw invalid('is less than 1', "a number, such as '100'");
  return count;
}

/** How far contexts are followed; the bound is MAX_CONTEXT_HOPS of records.h. */
export function parseHops(text: string): number {
  const count = parsePositive(text);
  if (count > MAX_CONTEXT_HOPS) throw invalid('is too many', `${MAX_CONTEXT_HOPS} or fewer`);
  return count;
}

/** Not negative, and may have a fraction. */
export function parseRate(text: string): number {
  if (!/^\d+(?:\.\d+)?$/.test(text)) throw invalid('is not a rate', "a number: '100', '0.5'");
  return Number(text);
}

export function parsePid(text: string): number {
  const pid = /^\d+$/.test(text) ? Number(text) : 0;
  if (pid === 0 || pid > 0x7fffffff) {
    throw invalid('is not the id of a process', "a number, as 'pidof NAME' prints it");
  }
  return pid;
}

/** `64K`, `8M`, `1G`: a power of two from 4 KiB to 1 GiB, as BPF ring buffers have to be. */
export function parseRingSize(text: string): number {
  const match = /^(\d+)([KMG]?)(?:i?B)?$/i.exec(text);
  const shift = { '': 0, K: 10, M: 20, G: 30 }[(match?.[2] ?? '').toUpperCase()] ?? 0;
  const bytes = match ? Number(match[1]) * 2 ** shift : Number.NaN;
  const power = Math.log2(bytes);
  if (!(Number.isInteger(power) && power >= 12 && power <= 30)) {
    throw invalid('is no size for a ring buffer', 'a power of two from 4K to 1G: 8M');
  }
  return bytes;
}

/** For an option that is repeated. */
export function collect<T>(parse: (text: string) => T): (text: string, previous?: T[]) => T[] {
  return (text, previous = []) => [...previous, parse(text)];
}
