export function median(values: readonly number[]): number {
  return quantileOf(values, 0.5);
}

/** Of values in any order; 0 of none. */
export function quantileOf(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

/** The chance that of `n` at least `k` are hits, if each is one with the chance `p`. */
export function atLeast(k: number, n: number, p: number): number {
  if (k <= 0 || p >= 1) return 1;
  let sum = 0;
  for (let hits = k; hits <= n; hits++) {
    const ways = logFactorial(n) - logFactorial(hits) - logFactorial(n - hits);
    sum += Math.exp(ways + hits * Math.log(p) + (n - hits) * Math.log1p(-p));
  }
  return Math.min(1, sum);
}

const LOG_FACTORIALS = [0];

function logFactorial(n: number): number {
  for (let next = LOG_FACTORIALS.length; next <= n; next++) {
    LOG_FACTORIALS.push((LOG_FACTORIALS[next - 1] ?? 0) + Math.log(next));
  }
  return LOG_FACTORIALS[n] ?? 0;
}

/** How well one of two tells the other, from -1 to 1 (Matthews' correlation); 0 where one never changes. */
export function correlation(both: number, first: number, second: number, neither: number): number {
  const under = (both + first) * (both + second) * (neither + first) * (neither + second);
  return under === 0 ? 0 : (both * neither - first * second) / Math.sqrt(under);
}
