/** Lets those who decide see what a rule costs, and does what they decide. */
import type { Notice } from '../sinks/sink.js';
import { BudgetNotices } from './budget-notices.js';
import type { Followed } from './followed.js';
import { Governor, type GovernorAction } from './governor.js';
import { hasSupport, type HitCosts, shareOfHits } from './hit-costs.js';
import type { HotFunctions } from './hot-functions.js';
import type { ProbedModule } from './probed-module.js';
import type { TraceRule } from './rule.js';
import type { Session } from './session.js';
import { Suspensions } from './suspensions.js';
import { TargetShare } from './target-share.js';
import { type WatchAction, WatchBudget } from './watch-budget.js';

/** How long what is back is new, in seconds: an executable, and a function. */
const NEW_SECONDS = 2;
const BACK_SECONDS = 0.5;

export interface RuleGoverningOptions {
  session: { targets: Pick<Session['targets'], 'watchAnew'> };
  /** Remembers what has cost too much. */
  hot: Pick<HotFunctions, 'add'>;
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

/** What there is of the rule. */
export interface Present {
  modules: readonly ProbedModule[];
  /** How many processes they are in. */
  targets: number;
}

export class RuleGoverning {
  private readonly governor: Governor;
  private readonly targets = new TargetShare();
  private readonly suspensions = new Suspensions<ProbedModule>();
  private readonly watching = new WatchBudget();
  private readonly notices: BudgetNotices;
  private withdrawals = 0;
  /** It is to be looked at closely. */
  isNear = false;
  /** Something came back in the last step, and is new for so long, in seconds. */
  newFor = 0;

  /** `share`: of its budget, what it may spend. */
  constructor(
    private readonly rule: TraceRule,
    targets: number,
    share: number,
    private readonly costs: HitCosts,
    private readonly options: RuleGoverningOptions,
  ) {
    this.governor = new Governor(this.budgetOf(targets * share));
    this.notices = new BudgetNotices(rule, options.onNotice);
  }

  get state(): GovernedRule {
    const { governor, withdrawals } = this;
    const { isThinned: thinned, counted, withdrawn } = governor;
    const { count: suspensions, suspended } = this.suspensions;
    return {
      thinned,
      counted,
      withdrawn,
      withdrawals,
      suspensions,
      suspended: suspended.size,
      unwatched: this.watching.isAway,
    };
  }

  /** Nothing comes of looking while nothing is called. */
  get isAtRest(): boolean {
    const { governor, suspensions, watching, notices } = this;
    const isWhole = suspensions.suspended.size === 0 && !watching.isAway;
    return governor.isAtRest && isWhole && !notices.hasUntold;
  }

  /** Nanoseconds a second. */
  get spending(): number {
    return this.governor.spending + this.governor.otherSpending;
  }

  /** How often all probes of an executable were taken back for a while. */
  get suspended(): number {
    return this.suspensions.count;
  }

  /** Time has gone on by `seconds`, and costs have been looked at. */
  step(seconds: number, { modules, targets }: Present, share: number): void {
    const { governor, costs } = this;
    this.newFor = 0;
    this.treatAlike(modules);
    const spread = costs.byTarget(governor, modules);
    const budgets =
      this.rule.maxOverhead < 1 ? this.targets.step(seconds, targets, spread) : targets;
    const budget = this.budgetOf(budgets * share);
    governor.setBudget(budget);
    const ofCalls = costs.ofCalls(modules);
    const watchNs = costs.ofWatched(modules);
    const supportNs = costs.ofSupport(modules);
    const allowed = WatchBudget.allowed(budget, governor.spending + supportNs / seconds);
    this.watch(this.watching.step(seconds, watchNs, allowed), allowed, modules);
    // What is spent beyond that will be made up for, and is no reason to do without calls.
    const other = supportNs + Math.min(watchNs, allowed * seconds);
    for (const action of governor.step(seconds, ofCalls, other)) this.act(action, modules);
    this.notices.pass(seconds);
    this.notices.bookkeeping(seconds, governor.otherShare);
    this.suspend(seconds, modules);
    this.isNear = governor.isOverspending || this.watching.isNear;
  }

  /** Nothing more will be decided. */
  stop(): void {
    this.notices.tellAll();
  }

  /** What is not among these is there no more. */
  keepOnly(present: readonly ProbedModule[]): void {
    const { governor, notices } = this;
    const isGone = (index: number): boolean =>
      !present.some(({ attachment }) => attachment.has(index));
    for (const index of governor.functions) if (isGone(index)) governor.forget(index);
    notices.forget(isGone);
  }

  private budgetOf(targets: number): number {
    return this.rule.maxOverhead * targets * 1e9;
  }

  /** What came when the others were already treated so. */
  private treatAlike(present: readonly ProbedModule[]): void {
    for (const probed of present) {
      if (this.costs.knows(probed)) continue;
      if (this.governor.isThinned) probed.attachment.thin(true);
      if (this.watching.isAway) this.see(probed.attachment.watchWaits(false));
    }
  }

  /** What calls wait for costs too much, or may be looked at again. */
  private watch(action: WatchAction, allowed: number, present: readonly ProbedModule[]): void {
    if (action === null) return;
    const on = action === 'go on';
    const changes = present.map(({ attachment }) => attachment.watchWaits(on));
    const work = Promise.all(changes).then(() => {
      if (on) this.options.session.targets.watchAnew();
    });
    this.see(work);
    if (!on) this.notices.watchedInPart(this.watching.share, allowed / 1e9);
  }

  private act(action: GovernorAction, present: readonly ProbedModule[]): void {
    switch (action.do) {
      case 'thin':
      case 'restore spans':
        for (const { attachment } of present) attachment.thin(action.do === 'thin');
        break;
      case 'count':
      case 'withdraw':
        if (action.do === 'withdraw') this.withdrawals += action.functions.length;
        this.notices.overBudget(action, present);
        for (const probed of present) {
          const own = action.functions.filter((index) => probed.attachment.has(index));
          if (own.length === 0) continue;
          this.see(probed.attachment[action.do](own));
          this.rememberHot(probed, own);
        }
        break;
      case 'restore':
        this.newFor = Math.max(this.newFor, BACK_SECONDS);
        for (const { attachment } of present) {
          if (attachment.has(action.function)) this.see(attachment.restore(action.function));
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

  /** Where nothing else keeps to the budget, and puts on again what was taken back. */
  private suspend(seconds: number, present: readonly ProbedModule[]): void {
    const { governor, suspensions, notices, costs } = this;
    const { followed } = this.options;
    const cost = governor.otherSpending / 1e9;
    suspensions.keepOnly(present);
    const isTooDear = governor.isOtherTooDear && !this.watching.isSettling;
    const { suspend, resume } = suspensions.step(seconds, isTooDear, () =>
      dearestOf(present, suspensions.suspended, costs.recentSupport),
    );
    for (const probed of suspend) {
      const wait = suspensions.waitOf(probed);
      this.see(followed.suspend(probed).then(() => notices.suspended(probed.exe, cost, wait)));
    }
    for (const probed of resume) {
      this.newFor = NEW_SECONDS;
      this.see(followed.resume(probed).then(() => notices.resumed(probed.exe)));
    }
  }

  private see(work: Promise<void>): void {
    work.catch((error: unknown) => this.notices.failed(error));
  }
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
