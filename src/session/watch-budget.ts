/**
 * What it may cost to see what calls wait for and allocate: part of a rule's budget, so that something
 * is left for the calls themselves. Goroutines wait often, and each wait is seen whether anything
 * traced is open or not. Where that is too dear it is looked at for as much of the time as this part
 * pays for, and calls of the rest of the time say nothing of it. It decides; governing.ts sees to it.
 */

/** Of the budget. */
const SHARE = 0.5;
/** What is saved up at most, in seconds of that share. */
const FULL_SECONDS = 2;
/** As long a look at least, as dear as the last one was, in seconds. */
const LEAST_LOOK_SECONDS = 0.3;
/** However dear it is, there is a look after so long, in seconds. */
const LONGEST_SECONDS = 60;
/** Spending is an average over about that time, in seconds. */
const MEMORY_SECONDS = 0.1;
/** What was spent before still shows in what the rule spends, for so long, in seconds. */
const SETTLING_SECONDS = 2;

export type WatchAction = 'stop' | 'go on' | null;

export class WatchBudget {
  isAway = false;
  /** Nanoseconds that may be spent; less than none where more was. */
  private saved = 0;
  /** Nanoseconds a second, of the last look. */
  private rate = 0;
  /** Since it stopped or went on. */
  private since = Infinity;

  /** Time has gone on by `seconds` in which so much was spent; `budget` is the rule's, in ns a second. */
  step(seconds: number, spentNs: number, budget: number): WatchAction {
    const allowed = budget * SHARE;
    const full = Math.max(allowed * FULL_SECONDS, this.wanted);
    this.since += seconds;
    this.saved = Math.min(full, this.saved + allowed * seconds - spentNs);
    if (this.isAway) {
      const isEnough = this.saved >= Math.min(full, Math.max(allowed, this.wanted));
      return isEnough || this.since >= LONGEST_SECONDS ? this.turn(false) : null;
    }
    this.rate += (spentNs / seconds - this.rate) * (1 - Math.exp(-seconds / MEMORY_SECONDS));
    return this.saved < 0 ? this.turn(true) : null;
  }

  /** Of that what the rule must bear beside its calls: the rest will be made up for. */
  static bearable(spentNs: number, seconds: number, budget: number): number {
    return Math.min(spentNs, budget * SHARE * seconds);
  }

  get isSettling(): boolean {
    return this.isAway && this.since < SETTLING_SECONDS;
  }

  /** As a share of a CPU, while it was looked at. */
  get share(): number {
    return this.rate / 1e9;
  }

  private get wanted(): number {
    return this.rate * LEAST_LOOK_SECONDS;
  }

  private turn(away: boolean): WatchAction {
    this.isAway = away;
    this.since = 0;
    // What was overspent before is not paid for twice.
    if (!away) this.saved = Math.max(0, this.saved);
    return away ? 'stop' : 'go on';
  }
}
