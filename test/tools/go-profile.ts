/** Go's contention profiles, block and mutex, as `pprof.Profile.WriteTo` writes them for people. */

export interface Contention {
  ns: number;
  count: number;
}

/** What a profile has of stacks on which the function is. */
export function contentionOf(profile: string, name: string): Contention {
  const cyclesPerSecond = Number(/^cycles\/second=(\d+)$/m.exec(profile)?.[1]);
  const sum = { ns: 0, count: 0 };
  for (const record of profile.split('\n\n')) {
    const [, cycles, count] = /^(\d+) (\d+) @/m.exec(record) ?? [];
    const functions = [...record.matchAll(/^#\t0x\w+\t(\S+)\+0x\w+\t/gm)].map(([, each]) => each);
    if (!functions.includes(name)) continue;
    sum.ns += (Number(cycles) / cyclesPerSecond) * 1e9;
    sum.count += Number(count);
  }
  return sum;
}
