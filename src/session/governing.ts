/** Lets a governor for each rule see what its functions' calls cost, and does what they decide. */
import { callCostNs, countCostNs, spanCostNs, supportCostNs } from '../plan/cost.js';
import type { Notice } from '../sinks/sink.js';
import type { Followed } from './followed.js';
import { type GovernedCost, Governor, type GovernorAction } from './governor.js';
import type { HotFunctions } from './hot-functions.js';
import { HostShare } from './host-share.js';
import type { Modules, ProbedModule } from './modules.js';
import type { TraceRule } from './rule.js';
import type { Session } from './session.js';
import { Suspensions } from './suspensions.js';
import { costByTarget, type RecentHits, type TargetCost, TargetShare } from './target-share.js';
import { type WatchAction, WatchBudget } from './watch-budget.js';

/** How often costs are looked at while they are near the budget, or something is new, in ms. */
const QUICK_MS = 10;
/** The looking itself may take that share of a CPU then. */
const LOOKING = 0.1;
/** Else. */
const SLOW_MS = 100;
/** While nothing is called: to wake up is most of what an idle tracer does. */
const AT_REST_MS = 200;
/** While nothing has a budget. */
const NOTHING_TO_DO_MS = 500;
/** How long something is new, in seconds. */
const NEW_SECONDS = 2;
/** And something that is back. */
const BACK_SECONDS = 0.5;
/** What is seen of waits may be given up before, and is told by itself. */
const TELL_SECONDS = 0.5;
/** Of the budget: what is near it. */
const NEAR = 0.3;

export interface GoverningOptions {
  /** What all rules together may cost, in CPUs; Infinity: no limit. */
  hostBudget: number;
  session: Session;
  modules: Modules;
  /** Remembers what has cost too much. */
  hot: HotFunctions;
  /** Takes probes back for a while, and puts them on again. */
  followed: Pick<Followed, 'suspend' | 'resume'>;
  onNotice: (notice: Notice, rule: TraceRule) => void;
}

/** What the governor has done so far for one rule. */
export interface GovernedRule {
  thinned: boolean;
  /** Numbers of the functions of which only the entries are seen now. */
  counted: number[];
  /** And of those that are withdrawn. */
  withdrawn: number[];
  withdrawals: number;
  /** How often all probes of an executable were taken back for a while. */
  suspensions: number;
  /** Executables of which they are away now. */
  suspended: number;
  /** What calls wait for is not looked at now. */
  unwatched: boolean;
}

/** `threadsNs`: what those of the kernel's scheduler have cost. */
interface WatchHits {
  goroutines: number;
  threadsNs: number;
}

type Told = 'count' | 'withdraw';

interface Ruled {
  governor: Governor;
  targets: TargetShare;
  suspensions: Suspensions<ProbedModule>;
  watch: WatchBudget;
  withdrawals: number;
  /** What has been said of which function. */
  told: Map<number, Told>;
  /** And of what belongs to no function. */
  toldOther: boolean;
  /** It was said that it is not looked at all the time what calls wait for. */
  toldWatch: boolean;
  /** For how long that has left functions too little, in seconds. */
  otherFor: number;
}

interface Costs {
  callNs: Float64Array;
  spanNs: Float64Array;
  countNs: (number | null)[];
  supportNs: number;
}

export class Governing {
  private readonly rules = new Map<TraceRule, Ruled>();
  private readonly costs = new WeakMap<ProbedModule, Costs>();
  /** Calls by function number, when they were last looked at. */
  private before: Float64Array = new Float64Array(0);
  /** Hits by which it is seen what goroutines, and threads, wait for, when they were last looked at. */
  private readonly watchedBefore = { goroutines: 0, threads: 0 };
  private at = performance.now();
  private newUntil = 0;
  private activity = -1;
  /** Nothing comes of looking while nothing is called. */
  private isAtRest = false;
  /** Nothing was looked at the last time. */
  private isBehind = false;
  private timer: NodeJS.Timeout | null = null;
  private stopped = false;
  /** So far, of all rules. */
  suspensions = 0;

  private readonly host: HostShare;
  /** Of their budgets, what rules may spend. */
  private share = 1;

  constructor(private readonly options: GoverningOptions) {
    this.host = new HostShare(options.hostBudget * 1e9);
  }

  start(): void {
    this.schedule(QUICK_MS);
  }

  /** There will be new probes in a moment. */
  wake(): void {
    this.newUntil = performance.now() + NEW_SECONDS * 1e3;
    this.schedule(QUICK_MS);
  }

  stop(): void {
    this.stopped = true;
    if (this.timer) clearTimeout(this.timer);
  }

  /** Null: the rule's targets may bear any cost. */
  stateOf(rule: TraceRule): GovernedRule | null {
    const ruled = this.rules.get(rule);
    if (!ruled) return null;
    const { governor, withdrawals } = ruled;
    const { isThinned: thinned, counted, withdrawn } = governor;
    const { count: suspensions, suspended } = ruled.suspensions;
    return {
      thinned,
      counted,
      withdrawn,
      withdrawals,
      suspensions,
      suspended: suspended.size,
      unwatched: ruled.watch.isAway,
    };
  }

  private schedule(ms: number): void {
    if (this.stopped) return;
    if (this.timer) clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      let next = SLOW_MS;
      const begin = performance.now();
      try {
        next = this.step();
      } finally {
        const lasted = performance.now() - begin;
        this.schedule(Math.max(next, Math.min(SLOW_MS, lasted / LOOKING)));
      }
    }, ms);
  }

  /** Returns after how many ms to look again. */
  private step(): number {
    const { session, modules } = this.options;
    const now = performance.now();
    const seconds = (now - this.at) / 1e3;
    this.at = now;
    const activity = session.activity();
    const watched = this.watchHits();
    const isQuiet = activity === this.activity && watched.threadsNs === 0;
    this.activity = activity;
    if (isQuiet && this.isAtRest && now > this.newUntil) return AT_REST_MS;
    const byRule = new Map<TraceRule, ProbedModule[]>();
    for (const probed of modules.all) {
      const { rule } = probed;
      // All that a CPU has is no budget of a rule's own.
      if (rule.maxOverhead >= 1 && this.options.hostBudget === Infinity) continue;
      const known = byRule.get(rule);
      if (known) known.push(probed);
      else byRule.set(rule, [probed]);
    }
    this.forgetOthers(byRule);
    if (byRule.size === 0) {
      this.isBehind = true;
      this.isAtRest = false;
      return NOTHING_TO_DO_MS;
    }
    if (this.isBehind) {
      this.isBehind = false;
      this.before = session.calls();
    }
    // To sum the counts of thousands of functions takes a millisecond.
    const calls = isQuiet ? this.before : session.calls();
    const targets = new Map([...byRule].map(([rule, present]) => [rule, targetsOf(present)]));
    const hits = this.sample([...targets.values()], isQuiet);
    let isNear = now < this.newUntil;
    let spending = 0;
    for (const [rule, present] of byRule) {
      const most = targets.get(rule) ?? 1;
      const ruled = this.ruledBy(rule, most);
      this.treatAlike(rule, ruled, present);
      const spread = hits ? this.costByTarget(ruled, present, hits) : [];
      const budgets = rule.maxOverhead < 1 ? ruled.targets.step(seconds, most, spread) : most;
      const budget = budgetOf(rule, budgets * this.share);
      ruled.governor.setBudget(budget);
      const costs = isQuiet ? [] : present.flatMap((probed) => this.costsOf(probed, calls));
      const watchNs = this.watchNs(present, watched, hits);
      const supportNs = this.supportNs(present, calls, watched.goroutines, hits);
      const others = ruled.governor.spending + supportNs / seconds;
      const allowed = WatchBudget.allowed(budget, others);
      this.watch(ruled.watch.step(seconds, watchNs, allowed), allowed, rule, ruled, present);
      // What is spent beyond that will be made up for, and is no reason to do without calls.
      const other = supportNs + Math.min(watchNs, allowed * seconds);
      for (const action of ruled.governor.step(seconds, costs, other)) {
        this.act(action, rule, ruled, present);
      }
      this.tellOther(seconds, rule, ruled);
      this.suspend(seconds, rule, ruled, present, hits);
      spending += ruled.governor.spending + ruled.governor.otherSpending;
      if (ruled.governor.load > NEAR || watchNs > allowed * NEAR * seconds) isNear = true;
    }
    this.share = this.host.step(seconds, spending);
    this.before = calls;
    this.isAtRest =
      this.share === 1 &&
      [...this.rules.values()].every(
        ({ governor, suspensions, watch }) =>
          governor.isAtRest && suspensions.suspended.size === 0 && !watch.isAway,
      );
    return isNear ? QUICK_MS : SLOW_MS;
  }

  private ruledBy(rule: TraceRule, targets: number): Ruled {
    let ruled = this.rules.get(rule);
    if (!ruled) {
      ruled = {
        governor: new Governor(budgetOf(rule, targets * this.share)),
        targets: new TargetShare(),
        suspensions: new Suspensions(),
        watch: new WatchBudget(),
        withdrawals: 0,
        told: new Map(),
        toldOther: false,
        toldWatch: false,
        otherFor: 0,
      };
      this.rules.set(rule, ruled);
    }
    return ruled;
  }

  /** Whose hits there were, where that makes a difference. */
  private sample(targets: readonly number[], isQuiet: boolean): RecentHits | null {
    const { session, modules } = this.options;
    const supported = [...modules.all].filter(hasSupport);
    const isOfInterest = targets.some((count) => count > 1) || targetsOf(supported) > 1;
    session.targets.sampleHits(isOfInterest);
    return isOfInterest && !isQuiet ? session.recentHits() : null;
  }

  /** What each target of the rule has cost of late. */
  private costByTarget(
    { governor }: Ruled,
    present: readonly ProbedModule[],
    hits: RecentHits,
  ): Iterable<TargetCost> {
    const supported = present.filter(hasSupport);
    const costs = costByTarget(hits, (index, pid) => {
      if (index === 0) {
        const own = supported.find(({ pids }) => pids.has(pid));
        return own ? this.costsPerCall(own).supportNs : 0;
      }
      const probed = present.find(({ attachment }) => attachment.has(index));
      if (!probed) return 0;
      const { callNs, spanNs, countNs } = this.costsPerCall(probed);
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

  private costsOf(probed: ProbedModule, calls: Float64Array): GovernedCost[] {
    const { firstFunction } = probed.attachment;
    const { callNs, spanNs, countNs } = this.costsPerCall(probed);
    const costs: GovernedCost[] = [];
    for (let i = 0; i < callNs.length; i++) {
      const index = firstFunction + i;
      // A function whose number another had before begins anew.
      const made = (calls[index] ?? 0) - (this.before[index] ?? 0);
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

  private costsPerCall(probed: ProbedModule): Costs {
    let costs = this.costs.get(probed);
    if (!costs) {
      const { plan } = probed.attachment;
      const host = probed.rule.request.costs;
      const callNs = Float64Array.from(plan.functions, (each) => callCostNs(each, host));
      const spanNs = Float64Array.from(
        plan.functions,
        (each, i) => spanCostNs(each, host) - (callNs[i] ?? 0),
      );
      const countNs = plan.functions.map((each) => countCostNs(each, host));
      costs = { callNs, spanNs, countNs, supportNs: supportCostNs(plan, host) };
      this.costs.set(probed, costs);
    }
    return costs;
  }

  /** Hits of the sites that our bookkeeping needs are counted for all modules together. */
  private supportNs(
    present: readonly ProbedModule[],
    calls: Float64Array,
    watchHits: number,
    recent: RecentHits | null,
  ): number {
    const hits = Math.max(0, (calls[0] ?? 0) - (this.before[0] ?? 0) - watchHits);
    return hits === 0 ? 0 : hits * this.shareOf(present, hasSupport, recent);
  }

  /** And of those by which it is seen what calls wait for. */
  private watchNs(
    present: readonly ProbedModule[],
    { goroutines, threadsNs }: WatchHits,
    recent: RecentHits | null,
  ): number {
    const isGo = (probed: ProbedModule): boolean => watches(probed) && hasSupport(probed);
    const ofGoroutines = goroutines === 0 ? 0 : goroutines * this.shareOf(present, isGo, recent);
    const own = present.filter(waits);
    if (threadsNs === 0 || own.length === 0) return ofGoroutines;
    const looking = [...this.options.modules.all].filter(waits);
    return ofGoroutines + (threadsNs * targetsOf(own)) / targetsOf(looking);
  }

  /** What one of all these modules' hits costs the rule, which has had some of them. */
  private shareOf(
    present: readonly ProbedModule[],
    isMeant: (probed: ProbedModule) => boolean,
    recent: RecentHits | null,
  ): number {
    const own = present.filter(isMeant);
    const [first] = own;
    if (!first) return 0;
    const all = [...this.options.modules.all].filter(isMeant);
    const share = shareOfHits(recent?.get(0), own) ?? targetsOf(own) / targetsOf(all);
    return this.costsPerCall(first).supportNs * share;
  }

  /** Since the last step. */
  private watchHits(): WatchHits {
    const { session } = this.options;
    const goroutines = session.watchHits();
    const { hits: threads, priceNs } = session.scheduleHits();
    const before = this.watchedBefore;
    const since = {
      goroutines: Math.max(0, goroutines - before.goroutines),
      threadsNs: Math.max(0, threads - before.threads) * priceNs,
    };
    Object.assign(before, { goroutines, threads });
    return since;
  }

  /** What came when the others were already treated so. */
  private treatAlike(rule: TraceRule, ruled: Ruled, present: readonly ProbedModule[]): void {
    for (const probed of present) {
      if (this.costs.has(probed)) continue;
      if (ruled.governor.isThinned) probed.attachment.thin(true);
      if (ruled.watch.isAway) this.see(probed.attachment.watchWaits(false), rule);
    }
  }

  /** What calls wait for costs too much, or may be looked at again. */
  private watch(
    action: WatchAction,
    allowed: number,
    rule: TraceRule,
    ruled: Ruled,
    present: readonly ProbedModule[],
  ): void {
    if (action === null) return;
    const on = action === 'go on';
    const { session, onNotice } = this.options;
    const changes = present.map(({ attachment }) => attachment.watchWaits(on));
    const work = Promise.all(changes).then(() => {
      if (on) session.targets.watchAnew();
    });
    this.see(work, rule);
    if (on || ruled.toldWatch) return;
    ruled.toldWatch = true;
    const message = `to see what calls wait for and allocate costs ${percent(ruled.watch.share)} of a CPU, and the budget, which is ${percent(rule.maxOverhead)}, leaves ${percent(allowed / 1e9)} for it: it is looked at part of the time, and spans of the rest do not say it (raise --max-overhead)`;
    onNotice({ code: 'WATCHED_IN_PART', message }, rule);
  }

  /** Where nothing else keeps to the budget, and puts on again what was taken back. */
  private suspend(
    seconds: number,
    rule: TraceRule,
    { governor, suspensions, watch }: Ruled,
    present: readonly ProbedModule[],
    hits: RecentHits | null,
  ): void {
    const { followed, onNotice } = this.options;
    const cost = governor.otherSpending / 1e9;
    suspensions.keepOnly(present);
    const isTooDear = governor.isOtherTooDear && !watch.isSettling;
    const { suspend, resume } = suspensions.step(seconds, isTooDear, () =>
      dearestOf(present, suspensions.suspended, hits?.get(0)),
    );
    for (const probed of suspend) {
      this.suspensions++;
      const wait = suspensions.waitOf(probed);
      const message = `the probes by which stacks and contexts are followed cost ${percent(cost)} of a CPU by themselves, and the budget is ${percent(rule.maxOverhead)}: nothing is traced of ${probed.exe} for ${wait} s (raise --max-overhead, or trace something else)`;
      const work = followed
        .suspend(probed)
        .then(() => onNotice({ code: 'TRACING_SUSPENDED', message }, rule));
      this.see(work, rule);
    }
    for (const probed of resume) {
      const message = `${probed.exe} is traced again`;
      this.newUntil = Math.max(this.newUntil, performance.now() + NEW_SECONDS * 1e3);
      const work = followed
        .resume(probed)
        .then(() => onNotice({ code: 'TRACING_RESUMED', message }, rule));
      this.see(work, rule);
    }
  }

  private act(
    action: GovernorAction,
    rule: TraceRule,
    ruled: Ruled,
    present: readonly ProbedModule[],
  ): void {
    switch (action.do) {
      case 'thin':
      case 'restore spans':
        for (const { attachment } of present) attachment.thin(action.do === 'thin');
        break;
      case 'count':
      case 'withdraw':
        if (action.do === 'withdraw') ruled.withdrawals += action.functions.length;
        this.tell(action, rule, ruled, present);
        for (const probed of present) {
          const own = action.functions.filter((index) => probed.attachment.has(index));
          if (own.length === 0) continue;
          this.see(probed.attachment[action.do](own), rule);
          this.rememberHot(probed, own);
        }
        break;
      case 'restore':
        this.newUntil = Math.max(this.newUntil, performance.now() + BACK_SECONDS * 1e3);
        for (const { attachment } of present) {
          if (attachment.has(action.function)) this.see(attachment.restore(action.function), rule);
        }
        break;
    }
  }

  private rememberHot({ attachment, exe, role }: ProbedModule, functions: number[]): void {
    if (role.kind === 'kernel') return;
    const { plan, firstFunction } = attachment;
    const addresses = functions.flatMap(
      (index) => plan.functions[index - firstFunction]?.entry.address ?? [],
    );
    this.options.hot.add(plan.module.facts, exe, addresses);
  }

  private see(work: Promise<void>, rule: TraceRule): void {
    work.catch((error: unknown) => {
      const message = `probes could not be changed to keep within the budget: ${String(error)}`;
      this.options.onNotice({ code: 'GOVERNOR_FAILED', message }, rule);
    });
  }

  /** Of each function once, or twice where it gets worse: it may come and go many times. */
  private tell(
    { do: what, functions, share }: GovernorAction & { do: Told },
    rule: TraceRule,
    ruled: Ruled,
    present: readonly ProbedModule[],
  ): void {
    const untold = functions.filter((index) => {
      const said = ruled.told.get(index);
      return said === undefined || (said === 'count' && what === 'withdraw');
    });
    if (untold.length === 0) return;
    for (const index of untold) ruled.told.set(index, what);
    const named = untold.map((index) => nameOf(present, index));
    const few = named.slice(0, 3).join(', ');
    const others = named.length > 3 ? ` and ${named.length - 3} more` : '';
    this.options.onNotice(
      {
        code: 'OVER_BUDGET',
        message: `tracing ${few}${others} costs ${percent(share)} of a CPU, and the budget is ${percent(rule.maxOverhead)}: from now on ${WHAT_IS_LEFT[what]} (raise --max-overhead, or trace less)`,
      },
      rule,
    );
  }

  /** Without these probes calls would be placed and paired wrongly: they go with all others, or not. */
  private tellOther(seconds: number, rule: TraceRule, ruled: Ruled): void {
    const { otherShare } = ruled.governor;
    ruled.otherFor = otherShare === null ? 0 : ruled.otherFor + seconds;
    if (otherShare === null || ruled.otherFor < TELL_SECONDS || ruled.toldOther) return;
    ruled.toldOther = true;
    this.options.onNotice(
      {
        code: 'BOOKKEEPING_OVER_BUDGET',
        message: `the probes by which stacks and contexts are followed cost ${percent(otherShare)} of a CPU by themselves, and the budget is ${percent(rule.maxOverhead)}: should they cost more than all of it, nothing is traced for some time (raise --max-overhead, or trace something else)`,
      },
      rule,
    );
  }

  private forgetOthers(present: ReadonlyMap<TraceRule, readonly ProbedModule[]>): void {
    for (const [rule, { governor, told }] of this.rules) {
      const modules = present.get(rule);
      if (!modules) this.rules.delete(rule);
      const isGone = (index: number): boolean =>
        !modules?.some(({ attachment }) => attachment.has(index));
      for (const index of governor.functions) if (isGone(index)) governor.forget(index);
      for (const index of told.keys()) if (isGone(index)) told.delete(index);
    }
  }
}

const budgetOf = (rule: TraceRule, targets: number): number => rule.maxOverhead * targets * 1e9;

const percent = (share: number): string => `${+(share * 100).toPrecision(2)} %`;

const WHAT_IS_LEFT = {
  count: 'calls are only counted, and their durations looked at now and then',
  withdraw: 'calls are only looked at now and then, and none makes a span',
};

const hasSupport = ({ attachment }: ProbedModule): boolean => attachment.plan.support.length > 0;

const watches = ({ rule: { options } }: ProbedModule): boolean =>
  options.waits || options.allocations;
const waits = ({ rule }: ProbedModule): boolean => rule.options.waits;

/** At least one: probes may wait for the first. */
function targetsOf(modules: readonly ProbedModule[]): number {
  const pids = new Set<number>();
  for (const probed of modules) for (const pid of probed.pids) pids.add(pid);
  return Math.max(1, pids.size);
}

/** Of these sampled hits; null where there are none. */
function shareOfHits(
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

/**
 * The executable whose processes have made most of these hits, of those that are not away: libraries
 * have the hits of many. Else whatever has bookkeeping.
 */
function dearestOf(
  modules: readonly ProbedModule[],
  away: ReadonlySet<ProbedModule>,
  byTarget: ReadonlyMap<number, number> | undefined,
): ProbedModule | null {
  const hitsOf = (probed: ProbedModule): number => shareOfHits(byTarget, [probed]) ?? 0;
  const there = modules.filter((probed) => !away.has(probed) && probed.role.kind !== 'kernel');
  const main = there.filter(({ role }) => role.kind === 'main');
  const [dearest] = (main.length > 0 ? main : there.filter(hasSupport)).sort(
    (a, b) => hitsOf(b) - hitsOf(a),
  );
  return dearest ?? null;
}

function nameOf(modules: readonly ProbedModule[], index: number): string {
  for (const { attachment } of modules) {
    if (!attachment.has(index)) continue;
    return attachment.plan.functions[index - attachment.firstFunction]?.name ?? '';
  }
  return '';
}
