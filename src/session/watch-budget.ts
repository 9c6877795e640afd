/**
 * What it may cost to see what calls wait for and allocate: what the calls themselves leave of a rule's
 * budget. Goroutines wait often, and each wait is seen whether anything traced is open or not. Where
 * that is too dear it is looked at for as much of the time as is paid for, and calls of the rest of the
 * time say nothing of it. It decides; rule-governing.ts sees to it.
 */

/** Of the budget, at most and at least. */
const MOST = 0.5;
const LEAST = 0.1;
/** What may be spent on all together: with less to spare, spans would stop. */
const ALL = 0.85;
/** What is saved up at most, and at first, in seconds of what is allowed. */
const FULL_SECONDS = 2;
const FIRST_SECONDS = 0.4;
/** As long a look at least, as dear as the last one was, in seconds. */
const LEAST_LOOK_SECONDS = 0.3;
/** However dear it is, there is a look after so long, in seconds. */
const LONGEST_SECONDS = 60;
/** What was spent before still shows in what the rule spends, for so long, in seconds. */
const SETTLING_SECONDS = 2;
/** What will be gone within that time, in seconds, is looked at closely. */
const SOON_SECONDS = 0.2;

export type WatchAction = 'stop' | 'go on' | null;

export class WatchBudget {
  isAway = false;
  /** Nanoseconds that may be spent; less than none where more was. null: nothing has been yet. */
  private saved: number | null = null;
  /** Nanoseconds a second, of the last look. */
  private rate = 0;
  /** In this look. */
  private spent = 0;
  private looked = 0;
  /** It stopped so long ago. */
  private since = Infinity;

  /** Nanoseconds a second, of the rule's budget where so much goes to other things. */
  static allowed(budget: number, others: number): number {
    return Math.min(MOST * budget, Math.max(LEAST * budget, ALL * budget - others));
  }

  /** Time has gone on by `seconds` in which so much was spent; `allowed` in ns a second. */
  step(seconds: number, spentNs: number, allowed: number): WatchAction {
    const wanted = this.rate * LEAST_LOOK_SECONDS;
    const full = Math.max(allowed * FULL_SECONDS, wanted);
    const saved = (this.saved ?? allowed * FIRST_SECONDS) + allowed * seconds - spentNs;
    this.saved = Math.min(full, saved);
    if (!this.isAway) {
      this.spent += spentNs;
      this.looked += seconds;
      return this.saved < 0 ? this.stop() : null;
    }
    this.since += seconds;
    const isEnough = this.saved >= Math.max(allowed, wanted);
    return isEnough || this.since >= LONGEST_SECONDS ? this.goOn() : null;
  }

  /** What is saved may soon be gone. */
  get isNear(): boolean {
    if (this.isAway || this.looked === 0) return false;
    return (this.saved ?? 0) < (this.spent / this.looked) * SOON_SECONDS;
  }

  get isSettling(): boolean {
    return this.isAway && this.since < SETTLING_SECONDS;
  }

  /** As a share of a CPU, while it was looked at the last time. */
  get share(): number {
    return this.rate / 1e9;
  }

  private stop(): WatchAction {
    this.rate = this.spent / this.looked;
    this.isAway = true;
    this.spent = 0;
    this.looked = 0;
    this.since = 0;
    return 'stop';
  }

  private goOn(): WatchAction {
    this.isAway = false;
    return 'go on';
  }
}
