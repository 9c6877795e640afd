/** What is compared is measured in turn, so that a machine that changes its speed is the same for all. */
export interface Spread {
  median: number;
  least: number;
  most: number;
}

export function spread(numbers: readonly number[]): Spread {
  const sorted = [...numbers].sort((a, b) => a - b);
  return {
    median: sorted[sorted.length >> 1] ?? NaN,
    least: sorted[0] ?? NaN,
    most: sorted.at(-1) ?? NaN,
  };
}

/** What each way gave in each round. */
export async function inTurn<Way extends string>(
  rounds: number,
  ways: Record<Way, () => Promise<number>>,
): Promise<Record<Way, number[]>> {
  const names = Object.keys(ways) as Way[];
  const found = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<
    Way,
    number[]
  >;
  for (let round = 0; round < rounds; round++) {
    for (const name of names) found[name].push(await ways[name]());
  }
  return found;
}

/** Round by round what `of` adds to `from`, against what `to` adds to it. */
export function ratios(
  of: readonly number[],
  to: readonly number[],
  from: readonly number[],
): number[] {
  return of.map((value, round) => {
    const base = from[round] ?? NaN;
    return (value - base) / ((to[round] ?? NaN) - base);
  });
}

export const difference = (of: readonly number[], from: readonly number[]): number[] =>
  of.map((value, round) => value - (from[round] ?? NaN));
