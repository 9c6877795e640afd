/**
 * What it may cost to see what calls wait for: part of a rule's budget, so that something is left for
 * the calls themselves. Goroutines wait often, and each wait is seen whether anything traced is open
 * or not. Beyond that part calls have durations and no reasons, and it is tried again after a while.
 * It decides; governing.ts sees to it.
 */
import { Suspensions } from './suspensions.js';

/** Of the budget. */
const SHARE = 0.5;
/** For so long it may be more, in seconds. */
const PATIENCE_SECONDS = 0.1;
/** Spending is an average over about that time, in seconds. */
const MEMORY_SECONDS = 0.1;
/** What was spent before still shows in what the rule spends, for so long, in seconds. */
const SETTLING_SECONDS = 2;

export type WatchAction = 'stop' | 'go on' | null;

export class WatchBudget {
  private readonly suspensions = new Suspensions<WatchBudget>(PATIENCE_SECONDS);
  /** Nanoseconds a second. */
  private rate = 0;
  private sinceStop = Infinity;

  /** Time has gone on by `seconds` in which so much was spent; `budget` is the rule's, in ns a second. */
  step(seconds: number, spentNs: number, budget: number): WatchAction {
    this.rate += (spentNs / seconds - this.rate) * (1 - Math.exp(-seconds / MEMORY_SECONDS));
    this.sinceStop += seconds;
    const isOver = this.rate > budget * SHARE;
    const { suspend, resume } = this.suspensions.step(seconds, isOver, () => this);
    if (resume.length > 0) return 'go on';
    if (suspend.length === 0) return null;
    this.sinceStop = 0;
    return 'stop';
  }

  /** Of that what the rule must bear beside its calls: the rest will be gone in a moment. */
  static bearable(spentNs: number, seconds: number, budget: number): number {
    return Math.min(spentNs, budget * SHARE * seconds);
  }

  get isAway(): boolean {
    return this.suspensions.suspended.size > 0;
  }

  get isSettling(): boolean {
    return this.sinceStop < SETTLING_SECONDS;
  }

  get waitSeconds(): number {
    return this.suspensions.waitOf(this);
  }

  /** As a share of a CPU. */
  get share(): number {
    return this.rate / 1e9;
  }
}
