/** What the kernel side knows of the governor's doings: bits for each function. */
import type { BpfMap } from '../native/native.js';

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
      if (bits === 0) this.bits.delete(index);
      else this.bits.set(index, bits);
      changed.push([index, bits]);
    }
    if (changed.length === 0) return;
    const keys = Buffer.alloc(changed.length * 4);
    const values = Buffer.alloc(changed.length * 4);
    changed.forEach(([index, bits], at) => {
      keys.writeUInt32LE(index, at * 4);
      values.writeUInt32LE(bits, at * 4);
    });
    this.map.updateMany(keys, values);
  }

  /** Numbers are free for other functions. */
  clear(): void {
    const known = [...this.bits.keys()];
    for (const bit of new Set(this.bits.values())) this.set(known, bit, false);
  }
}
