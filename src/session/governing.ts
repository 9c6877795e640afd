/** Has what calls cost looked at as often as is worth it, for each rule and for all together. */
import { HitCosts, type HitCostsOptions, targetsOf } from './hit-costs.js';
import { HostShare } from './host-share.js';
import type { Modules } from './modules.js';
import type { ProbedModule } from './probed-module.js';
import type { TraceRule } from './rule.js';
import {
  type GovernedRule,
  type Present,
  RuleGoverning,
  type RuleGoverningOptions,
} from './rule-governing.js';
import type { Session } from './session.js';

/** How often costs are looked at while a budget is drawn on, or something is new, in ms. */
const QUICK_MS = 10;
/** The looking itself may take that share of a CPU then. */
const LOOKING = 0.1;
/** Else: each look takes a CPU from the target for a moment, where there is none to spare. */
const SLOW_MS = 100;
/**
 * While nothing is called, and nobody tells when that changes. To wake up is most of what an idle
 * tracer does.
 */
const AT_REST_MS = 200;
/** While nothing has a budget. */
const NOTHING_TO_DO_MS = 500;
/** How long something is new, in seconds. */
const NEW_SECONDS = 2;

export interface GoverningOptions extends RuleGoverningOptions {
  /** What all rules together may cost, in CPUs; Infinity: no limit. */
  hostBudget: number;
  session: Pick<Session, 'activity' | 'onceActive'> &
    HitCostsOptions['session'] &
    RuleGoverningOptions['session'];
  modules: Pick<Modules, 'all'>;
}

export class Governing {
  private readonly rules = new Map<TraceRule, RuleGoverning>();
  private readonly costs: HitCosts;
  private readonly host: HostShare;
  /** Of their budgets, what rules may spend. */
  private share = 1;
  private at = performance.now();
  private newUntil = 0;
  private activity = -1;
  /** Nothing comes of looking while nothing is called. */
  private isAtRest = false;
  /** And nothing was, at the last look. */
  private rests = false;
  /** Nothing was looked at the last time. */
  private isBehind = false;
  private timer: NodeJS.Timeout | null = null;
  private stopped = false;
  /** Of rules that are no more. */
  private suspensionsBefore = 0;

  constructor(private readonly options: GoverningOptions) {
    this.costs = new HitCosts(options);
    this.host = new HostShare(options.hostBudget * 1e9);
  }

  start(): void {
    this.schedule(QUICK_MS);
  }

  /** There will be new probes in a moment. */
  wake(): void {
    this.isNewFor(NEW_SECONDS);
    this.schedule(QUICK_MS);
  }

  stop(): void {
    this.stopped = true;
    if (this.timer) clearTimeout(this.timer);
    for (const governing of this.rules.values()) governing.stop();
  }

  /** Null: the rule's targets may bear any cost. */
  stateOf(rule: TraceRule): GovernedRule | null {
    return this.rules.get(rule)?.state ?? null;
  }

  /** So far, of all rules. */
  get suspensions(): number {
    return [...this.rules.values()].reduce(
      (sum, { suspended }) => sum + suspended,
      this.suspensionsBefore,
    );
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
        if (!this.rests || !this.waits()) {
          this.schedule(Math.max(next, Math.min(SLOW_MS, lasted / LOOKING)));
        }
      }
    }, ms);
  }

  /** For something to be called. False: nobody would tell. */
  private waits(): boolean {
    return this.options.session.onceActive(this.activity, () => this.schedule(0));
  }

  /** Returns after how many ms to look again. */
  private step(): number {
    const { session } = this.options;
    const now = performance.now();
    // After a rest, what was called was so just now, however long nothing was.
    const passed = this.rests ? Math.min(now - this.at, AT_REST_MS) : now - this.at;
    const seconds = passed / 1e3;
    this.at = now;
    const activity = session.activity();
    const hasSwitched = this.costs.lookAtWatched();
    const isQuiet = activity === this.activity && !hasSwitched;
    this.activity = activity;
    this.rests = isQuiet && this.isAtRest && now > this.newUntil;
    if (this.rests) return AT_REST_MS;
    const byRule = this.present();
    this.keepOnly(byRule);
    if (byRule.size === 0) {
      this.isBehind = true;
      this.isAtRest = false;
      return NOTHING_TO_DO_MS;
    }
    if (this.isBehind) {
      this.isBehind = false;
      this.costs.skip();
    }
    this.costs.look(
      [...byRule.values()].map(({ targets }) => targets),
      isQuiet,
    );
    let isNear = now < this.newUntil;
    let spending = 0;
    for (const [rule, present] of byRule) {
      const governing = this.governingOf(rule, present.targets);
      governing.step(seconds, present, this.share);
      this.isNewFor(governing.newFor);
      spending += governing.spending;
      if (governing.isNear) isNear = true;
    }
    this.share = this.host.step(seconds, spending);
    this.isAtRest = this.share === 1 && [...this.rules.values()].every(({ isAtRest }) => isAtRest);
    return isNear ? QUICK_MS : SLOW_MS;
  }

  private isNewFor(seconds: number): void {
    this.newUntil = Math.max(this.newUntil, performance.now() + seconds * 1e3);
  }

  /** Of the rules that have a budget. */
  private present(): Map<TraceRule, Present> {
    const { modules, hostBudget } = this.options;
    const byRule = new Map<TraceRule, ProbedModule[]>();
    for (const probed of modules.all) {
      const { rule } = probed;
      // All that a CPU has is no budget of a rule's own.
      if (rule.maxOverhead >= 1 && hostBudget === Infinity) continue;
      const known = byRule.get(rule);
      if (known) known.push(probed);
      else byRule.set(rule, [probed]);
    }
    return new Map(
      [...byRule].map(([rule, modules]) => [rule, { modules, targets: targetsOf(modules) }]),
    );
  }

  private governingOf(rule: TraceRule, targets: number): RuleGoverning {
    let governing = this.rules.get(rule);
    if (!governing) {
      governing = new RuleGoverning(rule, targets, this.share, this.costs, this.options);
      this.rules.set(rule, governing);
    }
    return governing;
  }

  private keepOnly(byRule: ReadonlyMap<TraceRule, Present>): void {
    for (const [rule, governing] of this.rules) {
      const present = byRule.get(rule);
      if (present) {
        governing.keepOnly(present.modules);
        continue;
      }
      governing.stop();
      this.suspensionsBefore += governing.suspended;
      this.rules.delete(rule);
    }
  }
}
