/** Durations by their logarithm: exact counts at a resolution of 2 %, in bounded memory. */
const BASE = Math.log(1.02);

export class Durations {
  private readonly counts = new Map<number, number>();
  total = 0;

  add(ns: number): void {
    const bucket = Math.round(Math.log(Math.max(1, ns)) / BASE);
    this.counts.set(bucket, (this.counts.get(bucket) ?? 0) + 1);
    this.total++;
  }

  above(ns: number): number {
    const limit = Math.log(Math.max(1, ns)) / BASE;
    let count = 0;
    for (const [bucket, each] of this.counts) if (bucket > limit) count += each;
    return count;
  }

  /**
   * Where the durations fall into two kinds if they do: by Otsu's method, on logarithms, the boundary
   * between which and beyond which they differ most. null: they are all alike.
   */
  boundary(): number | null {
    const buckets = [...this.counts].sort(([a], [b]) => a - b);
    let sum = 0;
    for (const [bucket, count] of buckets) sum += bucket * count;
    let below = 0;
    let sumBelow = 0;
    let most = 0;
    let boundary: number | null = null;
    for (let index = 0; index + 1 < buckets.length; index++) {
      const [bucket, count] = buckets[index] as [number, number];
      below += count;
      sumBelow += bucket * count;
      const apart = sumBelow / below - (sum - sumBelow) / (this.total - below);
      const between = below * (this.total - below) * apart * apart;
      if (between <= most) continue;
      most = between;
      boundary = (bucket + (buckets[index + 1] as [number, number])[0]) / 2;
    }
    return boundary === null ? null : Math.exp(boundary * BASE);
  }
}
