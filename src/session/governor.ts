/**
 * Keeps what tracing costs a rule's targets within its budget. It decides; governing.ts sees to it.
 *
 * The budget fills a bucket, and every call takes out what it costs. When the bucket is empty, first
 * spans stop and statistics go on; if those cost too much as well, the functions that cost most are
 * withdrawn, the dearest first, until the rest can be paid for. What the rest leaves over fills the
 * bucket again, and each time that it is full one of the withdrawn functions comes back for as long
 * as the bucket lasts. So a function that costs twenty times the budget is seen for a twentieth of
 * the time, and no other has to go for it.
 */

/** What a function's calls cost the target, in nanoseconds a call. */
export interface GovernedCost {
  /** The function's number. */
  index: number;
  /** Since the last step. */
  calls: number;
  /** Of a call that is only counted. */
  callNs: number;
  /** What a span adds. */
  spanNs: number;
}

export type GovernorAction =
  | { do: 'thin' | 'restore spans' }
  | { do: 'withdraw'; functions: number[]; share: number }
  | { do: 'restore'; function: number };

/** What the bucket holds when it is full: that much of the budget, in seconds. */
const FULL_SECONDS = 1;
/** The rest after a withdrawal may cost that share of the budget, so that the bucket fills again. */
const REST = 0.9;
/** Rates are averages over about that time, in seconds. */
const MEMORY_SECONDS = 0.2;
/** A rate that is as good as none, in nanoseconds a second. */
const NOTHING = 1;
/** A function that is withdrawn is called at its full price for about so long, in seconds. */
const REACTION_SECONDS = 0.05;
/** How long the bucket must have been full, with room for spans, before spans come back, in seconds. */
const CALM_SECONDS = 5;

interface Known {
  /** ns of cost a second, statistics only; an average. */
  rate: number;
  /** The same with spans. */
  spanRate: number;
  withdrawn: boolean;
  /** Second of its last withdrawal. */
  since: number;
}

export class Governor {
  private readonly known = new Map<number, Known>();
  private bucket: number;
  private thinned = false;
  private seconds = 0;
  /** Since when the bucket has been full. */
  private fullSince: number | null = 0;

  /** `budget` in nanoseconds of cost a second. */
  constructor(private budget: number) {
    this.bucket = budget * FULL_SECONDS;
  }

  /** There are more targets, or fewer. */
  setBudget(budget: number): void {
    this.budget = budget;
    this.bucket = Math.min(this.bucket, budget * FULL_SECONDS);
  }

  get isThinned(): boolean {
    return this.thinned;
  }

  get functions(): number[] {
    return [...this.known.keys()];
  }

  get withdrawn(): number[] {
    return [...this.known].flatMap(([index, { withdrawn }]) => (withdrawn ? [index] : []));
  }

  /** Share of the budget that calls cost now. */
  get load(): number {
    let sum = 0;
    for (const { rate, spanRate } of this.known.values()) sum += this.thinned ? rate : spanRate;
    return sum / this.budget;
  }

  forget(index: number): void {
    this.known.delete(index);
  }

  /**
   * Time has gone on by `seconds`, and these calls were made; a function may be left out if none was
   * made of it. `otherNs` is what else was spent on the
   * targets and belongs to no function.
   */
  step(seconds: number, costs: readonly GovernedCost[], otherNs = 0): GovernorAction[] {
    this.seconds += seconds;
    const full = this.budget * FULL_SECONDS;
    const weight = 1 - Math.exp(-seconds / MEMORY_SECONDS);
    this.fade(1 - weight);
    let spent = otherNs;
    for (const cost of costs) spent += this.note(cost, seconds, weight);
    this.bucket = Math.min(full, this.bucket + this.budget * seconds) - spent;
    if (this.bucket < full * REST) this.fullSince = null;
    else this.fullSince ??= this.seconds;
    // What is withdrawn when nothing is left would be paid for by debts.
    if (this.bucket < this.excess(otherNs / seconds) * REACTION_SECONDS) {
      return this.relieve(otherNs / seconds);
    }
    return this.fullSince === null ? [] : this.goBack();
  }

  /** What calls cost above the budget now, in nanoseconds a second. */
  private excess(otherRate: number): number {
    let sum = otherRate;
    for (const { rate, spanRate, withdrawn } of this.known.values()) {
      if (!withdrawn) sum += this.thinned ? rate : spanRate;
    }
    return Math.max(0, sum - this.budget);
  }

  /** What is not called any more is forgotten with time, unless it is to come back. */
  private fade(share: number): void {
    for (const [index, known] of this.known) {
      known.rate *= share;
      known.spanRate *= share;
      if (!known.withdrawn && known.spanRate < NOTHING) this.known.delete(index);
    }
  }

  /** Returns what the calls have cost. */
  private note(cost: GovernedCost, seconds: number, weight: number): number {
    const { index, calls, callNs, spanNs } = cost;
    const known = this.known.get(index);
    const rate = (calls * callNs) / seconds;
    const spanRate = (calls * (callNs + spanNs)) / seconds;
    if (!known) {
      this.known.set(index, { rate, spanRate, withdrawn: false, since: 0 });
    } else {
      known.rate += rate * weight;
      known.spanRate += spanRate * weight;
    }
    return (this.thinned ? rate : spanRate) * seconds;
  }

  private relieve(otherRate: number): GovernorAction[] {
    const actions: GovernorAction[] = [];
    const present = [...this.known].filter(([, { withdrawn }]) => !withdrawn);
    const allowed = this.budget * REST;
    let rest = present.reduce((sum, [, { rate }]) => sum + rate, otherRate);
    if (!this.thinned) {
      this.thinned = true;
      actions.push({ do: 'thin' });
    }
    present.sort(([, a], [, b]) => b.rate - a.rate);
    const functions: number[] = [];
    const before = rest;
    for (const [index, known] of present) {
      if (rest <= allowed || known.rate === 0) break;
      rest -= known.rate;
      known.withdrawn = true;
      known.since = this.seconds;
      functions.push(index);
    }
    if (functions.length > 0) {
      actions.push({ do: 'withdraw', functions, share: (before - rest) / 1e9 });
    }
    return actions;
  }

  /** There is budget to spare: the function that has been away longest, or spans. */
  private goBack(): GovernorAction[] {
    const away = [...this.known].filter(([, { withdrawn }]) => withdrawn);
    const [next] = away.sort(([, a], [, b]) => a.since - b.since);
    if (next) {
      const [index, known] = next;
      known.withdrawn = false;
      this.fullSince = null;
      return [{ do: 'restore', function: index }];
    }
    if (!this.thinned || this.seconds - (this.fullSince ?? this.seconds) < CALM_SECONDS) return [];
    const withSpans = [...this.known.values()].reduce((sum, { spanRate }) => sum + spanRate, 0);
    if (withSpans > this.budget * REST) return [];
    this.thinned = false;
    return [{ do: 'restore spans' }];
  }
}
