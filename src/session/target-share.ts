/**
 * Which of a rule's targets cost what, and how much all may spend so that none costs more than its
 * own budget. Functions are traced in all targets alike: the rule has as many budgets as there would
 * be targets if each cost what the dearest does.
 */
import { hitSample } from '../spans/records.generated.js';

/** How long a sample counts, in ns. */
const RECENT_NS = 1e9;
/** By which the budgets grow back in a second, as what is dear comes to be spread. */
const GROWTH = 1.1;

/** How often hits were sampled of late: by function number, then by process. */
export type RecentHits = ReadonlyMap<number, ReadonlyMap<number, number>>;

/** `samples` are elements of the map `hit_samples`; `nowNs` is of the clock that they have. */
export function recentHits(samples: Buffer, nowNs: number): RecentHits {
  const found = new Map<number, Map<number, number>>();
  const view = new DataView(samples.buffer, samples.byteOffset, samples.byteLength);
  for (let at = 0; at < samples.length; at += hitSample.size) {
    const low = view.getUint32(at + hitSample.timeNs, true);
    const timeNs = view.getUint32(at + hitSample.timeNs + 4, true) * 2 ** 32 + low;
    if (timeNs < nowNs - RECENT_NS) continue;
    const tgid = view.getUint32(at + hitSample.tgid, true);
    const index = view.getUint32(at + hitSample.function, true);
    const byTarget = found.get(index) ?? new Map<number, number>();
    found.set(index, byTarget);
    byTarget.set(tgid, (byTarget.get(tgid) ?? 0) + 1);
  }
  return found;
}

/** Of one target, as far as samples tell. */
export interface TargetCost {
  ns: number;
  samples: number;
}

/** `costOf`: what a hit costs that was sampled, with all that follows from it; 0: of another rule. */
export function costByTarget(
  hits: RecentHits,
  costOf: (functionIndex: number, tgid: number) => number,
): Map<number, TargetCost> {
  const costs = new Map<number, TargetCost>();
  for (const [index, byTarget] of hits) {
    for (const [tgid, samples] of byTarget) {
      const ns = samples * costOf(index, tgid);
      if (ns === 0) continue;
      const before = costs.get(tgid);
      costs.set(tgid, {
        ns: (before?.ns ?? 0) + ns,
        samples: (before?.samples ?? 0) + samples,
      });
    }
  }
  return costs;
}

export class TargetShare {
  private budgets = Infinity;

  /** Returns how many targets' budgets the rule may spend: at least one, at most that of all. */
  step(seconds: number, targets: number, costs: Iterable<TargetCost>): number {
    let sum = 0;
    let most = 0;
    for (const { ns, samples } of costs) {
      sum += ns;
      // Few samples may be more than their share by chance alone.
      most = Math.max(most, ns * (1 - 1 / Math.sqrt(samples)));
    }
    const wanted = Math.max(1, Math.min(targets, most > 0 ? sum / most : targets));
    this.budgets = Math.min(wanted, this.budgets * GROWTH ** seconds);
    return this.budgets;
  }
}
