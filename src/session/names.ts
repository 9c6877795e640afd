/** Names of types and places in a module's code, by the addresses that calls carry. */
import type { Module } from '../native/native.js';
import type { Frame } from '../sinks/sink.js';
import type { Call } from '../spans/call.js';
import { SpecialValue } from '../spans/records.generated.js';
import { addressesIn } from '../spans/values.js';

interface Code {
  names: string[];
  addresses: Float64Array;
  sizes: Float64Array;
}

export class ModuleNames {
  private readonly types = new Map<number, string | null>();
  private readonly places = new Map<number, Frame | null>();
  private code: Promise<Code> | null = null;

  constructor(private readonly module: Module) {}

  /** Null where it is no type, or load() was not asked for it. */
  typeName(address: number): string | null {
    return this.types.get(address) ?? null;
  }

  /** "main.work\n\t/src/main.go:12", as Go writes a frame; null outside of the module's code. */
  frame(address: number): string | null {
    const place = this.place(address);
    if (!place) return null;
    const { function: name, file, line } = place;
    return file === null ? name : `${name}\n\t${file}:${line}`;
  }

  /** Null outside of the module's code, or where it was not asked for. */
  place(address: number): Frame | null {
    return this.places.get(address) ?? null;
  }

  /** Whether all that these calls carry is known. */
  knows(calls: readonly Call[]): boolean {
    const [types, frames] = this.missing(calls);
    return types.length === 0 && frames.length === 0;
  }

  async load(calls: readonly Call[]): Promise<void> {
    const [types, frames] = this.missing(calls);
    const names = await this.module.typeNames(Float64Array.from(types));
    types.forEach((address, index) => this.types.set(address, names[index] ?? null));
    await this.loadFrames(frames);
  }

  /** Return addresses, for frame() and place(). */
  async loadFrames(addresses: Iterable<number>): Promise<void> {
    const frames = [...addresses].filter((address) => !this.places.has(address));
    if (frames.length === 0) return;
    this.code ??= this.module.functions().then(({ names, addresses, sizes }) => ({
      names: names.split('\n'),
      addresses,
      sizes,
    }));
    const code = await this.code;
    // A return address lies behind the call, which may be the last instruction of its line.
    const lines = await this.module.lines(Float64Array.from(frames, (address) => address - 1));
    frames.forEach((address, index) => {
      const name = functionAt(code, address - 1);
      const { file = null, line = null } = lines[index] ?? {};
      this.places.set(address, name === null ? null : { function: name, file, line });
    });
  }

  private missing(calls: readonly Call[]): [types: number[], frames: number[]] {
    const types = new Set<number>();
    const frames = new Set<number>();
    for (const { values } of calls) {
      for (const { index, type, data } of values ?? []) {
        if (type !== 0 && !this.types.has(type)) types.add(type);
        if (index !== SpecialValue.STACK_TRACE) continue;
        for (const address of addressesIn(data)) {
          if (!this.places.has(address)) frames.add(address);
        }
      }
    }
    return [[...types], [...frames]];
  }
}

function functionAt({ names, addresses, sizes }: Code, address: number): string | null {
  let low = 0;
  let high = addresses.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((addresses[middle] ?? 0) <= address) low = middle + 1;
    else high = middle;
  }
  const found = low - 1;
  const inside = found >= 0 && address < (addresses[found] ?? 0) + (sizes[found] ?? 0);
  return inside ? (names[found] ?? null) : null;
}
