/** The kernel's stacks of allocations → those that allocated most, by name and line. */
import type { AllocationStack, Allocations, Frame } from '../sinks/sink.js';
import type { CountedRest, CountedStack } from './allocation-stacks.js';

/** How many stacks are told. */
const MOST_STACKS = 50;

/** What ModuleNames knows. */
export interface FrameNames {
  loadFrames(addresses: Iterable<number>): Promise<void>;
  place(address: number): Frame | null;
}

export interface AllocatingFunction {
  name: string;
  addresses: FrameNames;
}

/** `functionOf`: undefined where its probes were taken back. */
export async function hottest(
  counted: readonly CountedStack[],
  rest: CountedRest,
  functionOf: (index: number) => AllocatingFunction | undefined,
): Promise<Allocations> {
  const known = counted.flatMap((stack) => {
    const named = functionOf(stack.functionIndex);
    return named ? [{ stack, named }] : [];
  });
  const wanted = new Map<FrameNames, Set<number>>();
  for (const { stack, named } of known) {
    const addresses = wanted.get(named.addresses) ?? new Set();
    wanted.set(named.addresses, addresses);
    for (const address of stack.frames) addresses.add(address);
  }
  await Promise.all([...wanted].map(([names, addresses]) => names.loadFrames(addresses)));

  const merged = new Map<string, AllocationStack>();
  for (const { stack, named } of known) {
    const frames = ownFrames(stack.frames.map((address) => named.addresses.place(address)));
    // Several places of the runtime, or of one line, are one to the reader.
    const key = JSON.stringify([named.name, stack.isCut, frames]);
    const same = merged.get(key);
    if (same) {
      same.bytes += stack.bytes;
      same.samples += stack.samples;
    } else {
      const { bytes, samples, isCut: cut } = stack;
      merged.set(key, { function: named.name, bytes, samples, frames, cut });
    }
  }
  const all = [...merged.values()].sort((a, b) => b.bytes - a.bytes);
  const sum = (of: (each: CountedRest) => number): number =>
    [...all, rest].reduce((total, each) => total + of(each), 0);
  return {
    bytes: sum(({ bytes }) => bytes),
    samples: sum(({ samples }) => samples),
    stacks: all.slice(0, MOST_STACKS),
    others: Math.max(0, all.length - MOST_STACKS),
    uncounted: rest,
  };
}

/** Without those of the runtime in which every allocation ends. */
function ownFrames(places: readonly (Frame | null)[]): Frame[] {
  const known = places.filter((place) => place !== null);
  const first = known.findIndex(({ function: name }) => !isRuntime(name));
  // Of a traced function of the runtime itself.
  return first < 0 ? known.slice(-1) : known.slice(first);
}

const isRuntime = (name: string): boolean => /^(internal\/)?runtime[./]/.test(name);
