/** What hits have cost between two looks: by the kernel's counts, at the prices of the plans. */
import { callCostNs, countCostNs, spanCostNs, supportCostNs } from '../plan/cost.js';
import type { GovernedCost, Governor } from './governor.js';
import type { Modules } from './modules.js';
import type { ProbedModule } from './probed-module.js';
import type { Session } from './session.js';
import { costByTarget, type RecentHits, type TargetCost } from './target-share.js';

export interface HitCostsOptions {
  session: Pick<Session, 'calls' | 'recentHits' | 'scheduleHits' | 'watchHits'> & {
    targets: Pick<Session['targets'], 'sampleHits'>;
  };
  modules: Pick<Modules, 'all'>;
}

/** Of a module, each of its functions. */
interface Prices {
  callNs: Float64Array;
  spanNs: Float64Array;
  countNs: (number | null)[];
  supportNs: number;
}

export class HitCosts {
  private readonly prices = new WeakMap<ProbedModule, Prices>();
  /** By function number; the same array where nothing was called in between. */
  private calls: Float64Array = new Float64Array(0);
  private before = this.calls;
  /** Hits by which it is seen what goroutines, and threads, wait for, when they were last looked at. */
  private readonly watchedBefore = { goroutines: 0, threads: 0 };
  /** And since then; `threadsNs`: what those of the kernel's scheduler have cost. */
  private readonly watched = { goroutines: 0, threadsNs: 0 };
  /** Whose hits there were, where that makes a difference. */
  private recent: RecentHits | null = null;

  constructor(private readonly options: HitCostsOptions) {}

  /** At the hits that are no activity. Returns whether the kernel's scheduler had any. */
  lookAtWatched(): boolean {
    const { session } = this.options;
    const goroutines = session.watchHits();
    const { hits: threads, priceNs } = session.scheduleHits();
    const before = this.watchedBefore;
    this.watched.goroutines = Math.max(0, goroutines - before.goroutines);
    this.watched.threadsNs = Math.max(0, threads - before.threads) * priceNs;
    Object.assign(before, { goroutines, threads });
    return this.watched.threadsNs > 0;
  }

  /** What was called up to now is nobody's. */
  skip(): void {
    this.calls = this.options.session.calls();
  }

  /** `targets`: how many each rule has; `isQuiet`: nothing was called since the last look. */
  look(targets: readonly number[], isQuiet: boolean): void {
    const { session, modules } = this.options;
    this.before = this.calls;
    // To sum the counts of thousands of functions takes a millisecond.
    if (!isQuiet) this.calls = session.calls();
    const supported = [...modules.all].filter(hasSupport);
    const isOfInterest = targets.some((count) => count > 1) || targetsOf(supported) > 1;
    session.targets.sampleHits(isOfInterest);
    this.recent = isOfInterest && !isQuiet ? session.recentHits() : null;
  }

  /** False: there was nothing to be said of it yet. */
  knows(probed: ProbedModule): boolean {
    return this.prices.has(probed);
  }

  /** By process, of the sites that our bookkeeping needs; of late, where that makes a difference. */
  get recentSupport(): ReadonlyMap<number, number> | undefined {
    return this.recent?.get(0);
  }

  ofCalls(present: readonly ProbedModule[]): GovernedCost[] {
    if (this.calls === this.before) return [];
    return present.flatMap((probed) => this.ofCallsOf(probed));
  }

  /** What each target of the rule has cost of late. */
  byTarget(governor: Governor, present: readonly ProbedModule[]): Iterable<TargetCost> {
    if (!this.recent) return [];
    const supported = present.filter(hasSupport);
    const costs = costByTarget(this.recent, (index, pid) => {
      if (index === 0) {
        const own = supported.find(({ pids }) => pids.has(pid));
        return own ? this.pricesOf(own).supportNs : 0;
      }
      const probed = present.find(({ attachment }) => attachment.has(index));
      if (!probed) return 0;
      const { callNs, spanNs, countNs } = this.pricesOf(probed);
      const at = index - probed.attachment.firstFunction;
      return governor.callCost({
        index,
        callNs: callNs[at] ?? 0,
        spanNs: spanNs[at] ?? 0,
        countNs: countNs[at] ?? null,
      });
    });
    return costs.values();
  }

  /** Hits of the sites that our bookkeeping needs are counted for all modules together. */
  ofSupport(present: readonly ProbedModule[]): number {
    const made = (this.calls[0] ?? 0) - (this.before[0] ?? 0);
    const hits = Math.max(0, made - this.watched.goroutines);
    return hits === 0 ? 0 : hits * this.shareOf(present, hasSupport);
  }

  /** And of those by which it is seen what calls wait for. */
  ofWatched(present: readonly ProbedModule[]): number {
    const { goroutines, threadsNs } = this.watched;
    const isGo = (probed: ProbedModule): boolean => watches(probed) && hasSupport(probed);
    const ofGoroutines = goroutines === 0 ? 0 : goroutines * this.shareOf(present, isGo);
    const own = present.filter(waits);
    if (threadsNs === 0 || own.length === 0) return ofGoroutines;
    const looking = [...this.options.modules.all].filter(waits);
    return ofGoroutines + (threadsNs * targetsOf(own)) / targetsOf(looking);
  }

  private ofCallsOf(probed: ProbedModule): GovernedCost[] {
    const { firstFunction } = probed.attachment;
    const { callNs, spanNs, countNs } = this.pricesOf(probed);
    const costs: GovernedCost[] = [];
    for (let i = 0; i < callNs.length; i++) {
      const index = firstFunction + i;
      // A function whose number another had before begins anew.
      const made = (this.calls[index] ?? 0) - (this.before[index] ?? 0);
      if (made <= 0) continue;
      costs.push({
        index,
        calls: made,
        callNs: callNs[i] ?? 0,
        spanNs: spanNs[i] ?? 0,
        countNs: countNs[i] ?? null,
      });
    }
    return costs;
  }

  private pricesOf(probed: ProbedModule): Prices {
    let prices = this.prices.get(probed);
    if (!prices) {
      const { plan } = probed.attachment;
      const host = probed.rule.request.costs;
      const callNs = Float64Array.from(plan.functions, (each) => callCostNs(each, host));
      const spanNs = Float64Array.from(
        plan.functions,
        (each, i) => spanCostNs(each, host) - (callNs[i] ?? 0),
      );
      const countNs = plan.functions.map((each) => countCostNs(each, host));
      prices = { callNs, spanNs, countNs, supportNs: supportCostNs(plan, host) };
      this.prices.set(probed, prices);
    }
    return prices;
  }

  /** What one of all these modules' hits costs the rule, which has had some of them. */
  private shareOf(
    present: readonly ProbedModule[],
    isMeant: (probed: ProbedModule) => boolean,
  ): number {
    const own = present.filter(isMeant);
    const [first] = own;
    if (!first) return 0;
    const all = [...this.options.modules.all].filter(isMeant);
    const share = shareOfHits(this.recentSupport, own) ?? targetsOf(own) / targetsOf(all);
    return this.pricesOf(first).supportNs * share;
  }
}

export const hasSupport = ({ attachment }: ProbedModule): boolean =>
  attachment.plan.support.length > 0;

const watches = ({ rule: { options } }: ProbedModule): boolean =>
  options.waits || options.allocations;
const waits = ({ rule }: ProbedModule): boolean => rule.options.waits;

/** At least one: probes may wait for the first. */
export function targetsOf(modules: readonly ProbedModule[]): number {
  const pids = new Set<number>();
  for (const probed of modules) for (const pid of probed.pids) pids.add(pid);
  return Math.max(1, pids.size);
}

/** Of these sampled hits; null where there are none. */
export function shareOfHits(
  byTarget: ReadonlyMap<number, number> | undefined,
  modules: readonly ProbedModule[],
): number | null {
  let own = 0;
  let all = 0;
  for (const [pid, hits] of byTarget ?? []) {
    all += hits;
    if (modules.some(({ pids }) => pids.has(pid))) own += hits;
  }
  return all > 0 ? own / all : null;
}
