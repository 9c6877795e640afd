/** What the kernel side knows of the governor's doings: bits for each function. */
import type { BpfMap } from '../native/native.js';
import { Governed as Bit, GOVERNED_CHANGES_SHIFT } from '../spans/records.generated.js';

/** Returns of the function are not seen. */
const UNSEEN = Bit.WITHDRAWN | Bit.COUNTED;

export class Governed {
  /** By function number. */
  private readonly bits = new Map<number, number>();

  constructor(private readonly map: BpfMap) {}

  /** `bit` is one of `Governed` in records.generated.ts. */
  set(functions: Iterable<number>, bit: number, on: boolean): void {
    const changed: [index: number, bits: number][] = [];
    for (const index of functions) {
      const before = this.bits.get(index) ?? 0;
      const bits = on ? before | bit : before & ~bit;
      if (bits === before) continue;
      const after = (bit & UNSEEN) !== 0 ? (bits + (1 << GOVERNED_CHANGES_SHIFT)) >>> 0 : bits;
      this.bits.set(index, after);
      changed.push([index, after]);
    }
    this.write(changed);
  }

  /** Numbers are free for other functions. */
  clear(): void {
    this.write([...this.bits.keys()].map((index) => [index, 0]));
    this.bits.clear();
  }

  private write(changed: readonly [index: number, bits: number][]): void {
    if (changed.length === 0) return;
    const keys = Buffer.alloc(changed.length * 4);
    const values = Buffer.alloc(changed.length * 4);
    changed.forEach(([index, bits], at) => {
      keys.writeUInt32LE(index, at * 4);
      values.writeUInt32LE(bits, at * 4);
    });
    this.map.updateMany(keys, values);
  }
}
