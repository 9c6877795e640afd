/** How long garbage collectors stopped the world, by the module whose runtime it was. */
import type { ProbedModule } from './probed-module.js';

/** In seconds: from what is usual to what nobody wants. */
export const PAUSE_BOUNDS_SECONDS: readonly number[] = [
  ...[10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6],
  ...[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1],
];

export interface PauseCounts {
  /** Not cumulative; one more than there are bounds. */
  buckets: number[];
  sumNs: number;
}

export class GcPauses {
  /** A module's counts go when its probes are taken back, as all others of it do. */
  private readonly counts = new WeakMap<ProbedModule, PauseCounts>();

  constructor(private readonly modules: () => Iterable<ProbedModule>) {}

  add(tgid: number, durationNs: number): void {
    const seconds = durationNs / 1e9;
    const bound = PAUSE_BOUNDS_SECONDS.findIndex((each) => seconds <= each);
    const bucket = bound < 0 ? PAUSE_BOUNDS_SECONDS.length : bound;
    for (const probed of this.modules()) {
      if (!probed.pids.has(tgid) || !collects(probed)) continue;
      const counts = this.of(probed);
      counts.buckets[bucket] = (counts.buckets[bucket] ?? 0) + 1;
      counts.sumNs += durationNs;
    }
  }

  /** null: nobody looks there. */
  countsOf(probed: ProbedModule): PauseCounts | null {
    return collects(probed) ? this.of(probed) : null;
  }

  private of(probed: ProbedModule): PauseCounts {
    let counts = this.counts.get(probed);
    if (!counts) {
      counts = { buckets: new Array<number>(PAUSE_BOUNDS_SECONDS.length + 1).fill(0), sumNs: 0 };
      this.counts.set(probed, counts);
    }
    return counts;
  }
}

const collects = ({ rule, attachment }: ProbedModule): boolean =>
  rule.options.gc && attachment.plan.kind === 'go';
