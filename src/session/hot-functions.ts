/**
 * Functions that have cost more than their budget: when the same file is attached to again, also by
 * the next tracer, they come last.
 */
import { createHash } from 'node:crypto';
import { BootCache } from '../native/boot-cache.js';
import type { ModuleFacts } from '../native/native.js';
import { fileKey } from './crashes.js';

const HOT = 'hot-';
/** Files of which something is remembered. */
const MOST_FILES = 64;
/** Functions of a file; the oldest are forgotten. */
const MOST = 1024;

export class HotFunctions {
  /** Addresses by file, in the order in which they were found. */
  private readonly known = new Map<string, Set<number>>();

  constructor(private readonly cache = new BootCache()) {}

  /** Addresses, as the file numbers them. */
  of(facts: ModuleFacts, exe: string): ReadonlySet<number> {
    return this.read(nameOf(facts, exe));
  }

  add(facts: ModuleFacts, exe: string, addresses: readonly number[]): void {
    const name = nameOf(facts, exe);
    const found = this.read(name);
    const before = found.size;
    for (const address of addresses) found.add(address);
    if (found.size === before) return;
    for (const oldest of found) {
      if (found.size <= MOST) break;
      found.delete(oldest);
    }
    if (this.cache.write(name, null, [...found])) this.cache.prune(HOT, MOST_FILES);
  }

  private read(name: string): Set<number> {
    let known = this.known.get(name);
    if (!known) {
      known = new Set(addressesIn(this.cache.read(name, null)));
      this.known.set(name, known);
    }
    return known;
  }
}

function nameOf(facts: ModuleFacts, exe: string): string {
  const key = JSON.stringify(fileKey(facts, exe));
  return HOT + createHash('sha256').update(key).digest('hex').slice(0, 32);
}

/** Another version may have written something else. */
function addressesIn(value: unknown): number[] {
  if (!Array.isArray(value) || value.length > MOST) return [];
  return value.every((each) => Number.isSafeInteger(each) && each >= 0) ? (value as number[]) : [];
}
