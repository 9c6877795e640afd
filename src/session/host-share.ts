/**
 * What all rules together may cost the host. Rules have budgets for each of their targets; where that
 * adds up to more than the host may bear, each is cut by the same share, so that those that spend
 * little lose nothing.
 */

/** By which the share grows back in a second, while there is room. */
const GROWTH = 1.1;
/** Of the host's budget: while less is spent there is room. */
const ROOM = 0.8;
/** Spending is an average over about that time, in seconds. */
const MEMORY_SECONDS = 1;
/** However much is spent, rules have that much of their budgets. */
const LEAST = 0.001;

export class HostShare {
  private spending = 0;
  private share = 1;

  /** `budget` in nanoseconds of cost a second; Infinity: no limit. */
  constructor(private readonly budget: number) {}

  /** All rules have spent at this rate, ns a second, for so long. Returns the share of their budgets. */
  step(seconds: number, rate: number): number {
    if (this.budget === Infinity) return 1;
    this.spending += (rate - this.spending) * (1 - Math.exp(-seconds / MEMORY_SECONDS));
    if (this.spending > this.budget) {
      // What was cut shows in what is spent only after a moment.
      const wanted = (this.share * this.budget) / this.spending;
      this.share = Math.max(LEAST, this.share + (wanted - this.share) * Math.min(1, seconds));
    } else if (this.spending < ROOM * this.budget) {
      this.share = Math.min(1, this.share * GROWTH ** seconds);
    }
    return this.share;
  }
}
