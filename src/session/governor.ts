/**
 * Keeps what tracing costs a rule's targets within its budget. It decides; rule-governing.ts sees to it.
 *
 * The budget fills a bucket, and every call takes out what it costs. When the bucket will soon be
 * empty, first spans stop and statistics go on. If those cost too much as well, then of the dearest
 * functions only the entries are seen, which is a fraction of the price; and those of which that is
 * too dear too are withdrawn. What is only counted is known, and goes on as before as soon as the
 * budget pays for it. What is withdrawn is not, and so comes back for a moment to be looked at: later
 * each time, since a look at a busy function costs its callers more than the budget says. The same
 * holds for what is only counted, so that there are durations of it too.
 */

/** What a function's calls cost the target, in nanoseconds a call. */
export interface GovernedCost {
  /** The function's number. */
  index: number;
  /** Since the last step. */
  calls: number;
  /** Of a call of which there are statistics. */
  callNs: number;
  /** What a span adds. */
  spanNs: number;
  /** Of a call of which only the entry is seen; null: it cannot be. */
  countNs: number | null;
}

export type GovernorAction =
  | { do: 'thin' | 'restore spans' }
  /** `share`: of a CPU, what they cost less from now on. */
  | { do: 'count' | 'withdraw'; functions: number[]; share: number }
  | { do: 'restore'; function: number };

/** What the bucket holds when it is full: that much of the budget, in seconds. */
const FULL_SECONDS = 1;
/** And at first, when what is dear has yet to show itself. */
const FIRST_SECONDS = 0.4;
/** What goes on after somebody had to go may cost that share of the budget. */
const REST = 0.9;
/** Of the budget, what belongs to no function leaves the functions at least that share. */
const OWN = 0.5;
/** What was spent beyond the budget is made up for, up to that much of it, in seconds. */
const MOST_DEBT_SECONDS = 10;
/** Rates are averages over about that time, in seconds. */
const MEMORY_SECONDS = 0.05;
/** A rate that is as good as none, in nanoseconds a second. */
const NOTHING = 1;
/** Calls that cost so much take a good part of a thread, in nanoseconds a second. */
const BUSY = 0.5e9;
/** A function that is withdrawn is called at its full price for about so long, in seconds. */
const REACTION_SECONDS = 0.025;
/** How long there must have been room for spans before they come back, in seconds. */
const CALM_SECONDS = 5;
/** Looks at one function are so far apart, in seconds: at first, and at most. */
const FIRST_LOOK_SECONDS = 15;
const LAST_LOOK_SECONDS = 240;
/** What is counted waits that share of it, also if there is room. */
const CALM = 1 / 3;
/** Looks at any functions are. */
const BETWEEN_LOOKS_SECONDS = 3;

type State = 'whole' | 'counted' | 'withdrawn';

interface Known {
  /** ns of cost a second; averages. With statistics, with spans, and of the entries alone. */
  rate: number;
  spanRate: number;
  countRate: number | null;
  state: State;
  /** Second at which it came to be what it is. */
  since: number;
  /** Seconds until it is looked at the next time. */
  lookAfter: number;
}

export class Governor {
  private readonly known = new Map<number, Known>();
  private bucket: number;
  private thinned = false;
  private seconds = 0;
  /** Since when the bucket has been full. */
  private fullSince: number | null = null;
  private lookedAt = 0;
  /** Of what belongs to no function, in nanoseconds a second; an average. */
  private otherRate = 0;

  /** `budget` in nanoseconds of cost a second. */
  constructor(private budget: number) {
    this.bucket = budget * FIRST_SECONDS;
  }

  /** There are more targets, or fewer, or what they cost is spread otherwise. */
  setBudget(budget: number): void {
    this.budget = budget;
    this.bucket = Math.min(this.bucket, budget * FULL_SECONDS);
  }

  get isThinned(): boolean {
    return this.thinned;
  }

  /** Everything is whole, and nothing was called for some time. */
  get isAtRest(): boolean {
    return (
      !this.thinned &&
      this.known.size === 0 &&
      this.otherRate < NOTHING &&
      this.bucket >= this.budget * FULL_SECONDS
    );
  }

  get functions(): number[] {
    return [...this.known.keys()];
  }

  /** Of these only the entries are seen. */
  get counted(): number[] {
    return this.thoseThatAre('counted');
  }

  get withdrawn(): number[] {
    return this.thoseThatAre('withdrawn');
  }

  /** What belongs to no function costs so much of a CPU that it leaves functions too little. */
  get otherShare(): number | null {
    return this.otherRate > this.budget * (1 - OWN) ? this.otherRate / 1e9 : null;
  }

  /** What a call costs as the function is traced now, in nanoseconds. */
  callCost({ index, callNs, spanNs, countNs }: Omit<GovernedCost, 'calls'>): number {
    const state = this.known.get(index)?.state ?? 'whole';
    return this.costOf({ rate: callNs, spanRate: callNs + spanNs, countRate: countNs, state });
  }

  /** What belongs to no function costs more than all that may be spent. */
  get isOtherTooDear(): boolean {
    return this.otherRate > this.budget;
  }

  /** What calls cost now, in nanoseconds a second. */
  get spending(): number {
    let sum = 0;
    for (const known of this.known.values()) sum += this.costOf(known);
    return sum;
  }

  /** More is spent than the budget has: what was saved will be gone. */
  get isOverspending(): boolean {
    return this.spending + this.otherRate > this.budget;
  }

  /** What belongs to no function, in nanoseconds a second. */
  get otherSpending(): number {
    return this.otherRate;
  }

  forget(index: number): void {
    this.known.delete(index);
  }

  /**
   * Time has gone on by `seconds`, and these calls were made; a function may be left out if none was
   * made of it. `otherNs` is what else was spent on the targets and belongs to no function.
   */
  step(seconds: number, costs: readonly GovernedCost[], otherNs = 0): GovernorAction[] {
    this.seconds += seconds;
    const full = this.budget * FULL_SECONDS;
    const weight = 1 - Math.exp(-seconds / MEMORY_SECONDS);
    this.fade(1 - weight);
    let spent = otherNs;
    for (const cost of costs) spent += this.note(cost, seconds, weight);
    this.bucket = Math.min(full, this.bucket + this.budget * seconds) - spent;
    this.bucket = Math.max(this.bucket, -this.budget * MOST_DEBT_SECONDS);
    this.otherRate += (otherNs / seconds - this.otherRate) * weight;
    if (this.bucket < full * REST) this.fullSince = null;
    else this.fullSince ??= this.seconds;
    // What goes when nothing is left would go on at the expense of the next second.
    const excess = Math.max(0, this.spending + this.otherRate - this.budget);
    if (this.bucket < excess * REACTION_SECONDS) return this.relieve();
    return this.fullSince === null ? [] : this.goBack();
  }

  private thoseThatAre(wanted: State): number[] {
    return [...this.known].flatMap(([index, { state }]) => (state === wanted ? [index] : []));
  }

  /** What is not called any more is forgotten with time, unless it is to come back or just did. */
  private fade(share: number): void {
    for (const [index, known] of this.known) {
      known.rate *= share;
      known.spanRate *= share;
      if (known.countRate !== null) known.countRate *= share;
      const isNew = known.since > 0 && this.seconds - known.since < known.lookAfter;
      if (known.state === 'whole' && known.spanRate < NOTHING && !isNew) this.known.delete(index);
    }
  }

  /** Returns what the calls have cost. */
  private note(cost: GovernedCost, seconds: number, weight: number): number {
    const { index, calls, callNs, spanNs, countNs } = cost;
    const perSecond = calls / seconds;
    const now = {
      rate: perSecond * callNs,
      spanRate: perSecond * (callNs + spanNs),
      countRate: countNs === null ? null : perSecond * countNs,
    };
    let known = this.known.get(index);
    if (!known) {
      known = { ...now, state: 'whole', since: 0, lookAfter: FIRST_LOOK_SECONDS };
      this.known.set(index, known);
    } else {
      known.rate += now.rate * weight;
      known.spanRate += now.spanRate * weight;
      if (now.countRate !== null) known.countRate = (known.countRate ?? 0) + now.countRate * weight;
    }
    // Of one that is withdrawn these are the last calls.
    const state = known.state === 'counted' ? 'counted' : 'whole';
    return this.costOf({ ...now, state }) * seconds;
  }

  /** In nanoseconds a second, as it is traced now. */
  private costOf({ rate, spanRate, countRate, state }: Costs): number {
    if (state === 'withdrawn') return 0;
    if (state === 'counted') return countRate ?? rate;
    return this.thinned ? rate : spanRate;
  }

  private relieve(): GovernorAction[] {
    const actions: GovernorAction[] = [];
    const allowed = this.budget * REST - Math.min(this.otherRate, this.budget * (1 - OWN));
    if (!this.thinned) {
      this.thinned = true;
      actions.push({ do: 'thin' });
    }
    let rest = this.spending;
    const before = new Map<number, { state: State; cost: number }>();
    const cheapestFirst = this.cheapestFirst();
    while (rest > allowed) {
      const dearest = cheapestFirst.pop();
      if (!dearest) break;
      const { index, known, cost } = dearest;
      if (!before.has(index)) before.set(index, { state: known.state, cost });
      // Threads that do little else call the faster the less a call costs.
      const isBusy = rest >= BUSY;
      const isEnough =
        known.state === 'whole' && !isBusy && (known.countRate ?? Infinity) <= allowed;
      known.state = isEnough ? 'counted' : 'withdrawn';
      const left = this.costOf(known);
      if (isEnough) insert(cheapestFirst, { index, known, cost: left });
      rest -= cost - left;
    }
    for (const [index, { state }] of before) {
      const known = this.known.get(index) as Known;
      if (state === 'whole') this.postpone(known);
      known.since = this.seconds;
    }
    for (const [what, state] of [
      ['count', 'counted'],
      ['withdraw', 'withdrawn'],
    ] as const) {
      const functions = [...before.keys()].filter((each) => this.known.get(each)?.state === state);
      const saved = functions.reduce((sum, each) => {
        return sum + (before.get(each)?.cost ?? 0) - this.costOf(this.known.get(each) as Known);
      }, 0);
      if (functions.length > 0) actions.push({ do: what, functions, share: saved / 1e9 });
    }
    return actions;
  }

  private cheapestFirst(): Costly[] {
    const all = [...this.known].map(([index, known]) => ({
      index,
      known,
      cost: this.costOf(known),
    }));
    return all.filter(({ cost }) => cost > 0).sort((a, b) => a.cost - b.cost);
  }

  /** It is too dear. The sooner that was found after it had come back, the later the next look. */
  private postpone(known: Known): void {
    const stayed = this.seconds - known.since;
    known.lookAfter =
      known.since > 0 && stayed < known.lookAfter
        ? Math.min(2 * known.lookAfter, LAST_LOOK_SECONDS)
        : FIRST_LOOK_SECONDS;
  }

  /** There is budget to spare. */
  private goBack(): GovernorAction[] {
    const next = this.affordable() ?? this.dueForALook();
    if (next) {
      const [index, known] = next;
      known.state = 'whole';
      known.since = this.seconds;
      return [{ do: 'restore', function: index }];
    }
    if (!this.thinned || this.seconds - (this.fullSince ?? this.seconds) < CALM_SECONDS) return [];
    let withSpans = 0;
    for (const known of this.known.values()) {
      withSpans += known.state === 'whole' ? known.spanRate : this.costOf(known);
    }
    if (withSpans > this.budget * REST) return [];
    this.thinned = false;
    return [{ do: 'restore spans' }];
  }

  /** Of those that are counted one that the budget pays for now. */
  private affordable(): [number, Known] | undefined {
    const room = this.budget * REST - this.spending;
    return [...this.known].find(
      ([, known]) =>
        known.state === 'counted' &&
        this.seconds - known.since >= known.lookAfter * CALM &&
        known.rate - this.costOf(known) <= room,
    );
  }

  /** The one that has waited longest beyond its time. */
  private dueForALook(): [number, Known] | undefined {
    if (this.seconds - this.lookedAt < BETWEEN_LOOKS_SECONDS) return undefined;
    const dueAt = ({ since, lookAfter }: Known): number => since + lookAfter;
    const [next] = [...this.known]
      .filter(([, known]) => known.state !== 'whole' && dueAt(known) <= this.seconds)
      .sort(([, a], [, b]) => dueAt(a) - dueAt(b));
    if (next) this.lookedAt = this.seconds;
    return next;
  }
}

type Costs = Pick<Known, 'rate' | 'spanRate' | 'countRate' | 'state'>;

interface Costly {
  index: number;
  known: Known;
  cost: number;
}

/** Where it belongs by its cost. */
function insert(cheapestFirst: Costly[], one: Costly): void {
  let [from, to] = [0, cheapestFirst.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if ((cheapestFirst[middle]?.cost ?? Infinity) < one.cost) from = middle + 1;
    else to = middle;
  }
  cheapestFirst.splice(from, 0, one);
}
