/** What is said of what a rule's budget leads to. */
import type { Notice } from '../sinks/sink.js';
import type { GovernorAction } from './governor.js';
import type { ProbedModule } from './probed-module.js';
import type { TraceRule } from './rule.js';

/** What is seen of waits may be given up before, and is told by itself. */
const TELL_SECONDS = 0.5;
/** Between two notices of functions: in a large program there are some with each change of its load. */
const QUIET_SECONDS = 10;

const NAMED = 3;

type Told = 'count' | 'withdraw';

const WHAT_IS_LEFT = {
  count: 'calls are only counted, and their durations looked at now and then',
  withdraw: 'calls are only looked at now and then, and none makes a span',
};

/** Functions of which something is yet to be said. */
interface Untold {
  names: Map<number, string>;
  /** What they have cost, of a CPU. */
  share: number;
}

const nothing = (): Untold => ({ names: new Map(), share: 0 });

export class BudgetNotices {
  /** What has been said of which function. */
  private readonly told = new Map<number, Told>();
  private untold: Record<Told, Untold> = { count: nothing(), withdraw: nothing() };
  /** Until when the next is said of functions, in seconds from now. */
  private quietFor = 0;
  /** And of what belongs to no function. */
  private toldOther = false;
  /** It was said that it is not looked at all the time what calls wait for. */
  private toldWatch = false;
  /** For how long what belongs to no function has left functions too little, in seconds. */
  private otherFor = 0;

  constructor(
    private readonly rule: TraceRule,
    private readonly onNotice: (notice: Notice, rule: TraceRule) => void,
  ) {}

  /**
   * Of each function once, or twice where it gets worse: it may come and go many times. Said with the
   * time that passes.
   */
  overBudget(
    { do: what, functions, share }: GovernorAction & { do: Told },
    present: readonly ProbedModule[],
  ): void {
    const untold = functions.filter((index) => {
      const said = this.told.get(index);
      return said === undefined || (said === 'count' && what === 'withdraw');
    });
    if (untold.length === 0) return;
    for (const index of untold) {
      this.told.set(index, what);
      this.untold.count.names.delete(index);
      this.untold[what].names.set(index, nameOf(present, index));
    }
    this.untold[what].share += share;
  }

  /** Time has gone on. */
  pass(seconds: number): void {
    this.quietFor = Math.max(0, this.quietFor - seconds);
    if (this.quietFor === 0) this.tellAll();
  }

  get hasUntold(): boolean {
    return Object.values(this.untold).some(({ names }) => names.size > 0);
  }

  /** What is yet to be said of functions. */
  tellAll(): void {
    if (!this.hasUntold) return;
    this.quietFor = QUIET_SECONDS;
    const all = this.untold;
    this.untold = { count: nothing(), withdraw: nothing() };
    for (const what of ['count', 'withdraw'] as const) this.tell(what, all[what]);
  }

  private tell(what: Told, { names, share }: Untold): void {
    if (names.size === 0) return;
    const few = [...names.values()].slice(0, NAMED).join(', ');
    const others = names.size > NAMED ? ` and ${names.size - NAMED} more` : '';
    this.say(
      'OVER_BUDGET',
      `tracing ${few}${others} costs ${percent(share)} of a CPU, and the budget is ${this.budget}: from now on ${WHAT_IS_LEFT[what]} (raise --max-overhead, or trace less)`,
    );
  }

  /**
   * Without these probes calls would be placed and paired wrongly: they go with all others, or not.
   * `share`: what they cost of a CPU; null: functions are left enough.
   */
  bookkeeping(seconds: number, share: number | null): void {
    this.otherFor = share === null ? 0 : this.otherFor + seconds;
    if (share === null || this.otherFor < TELL_SECONDS || this.toldOther) return;
    this.toldOther = true;
    this.say(
      'BOOKKEEPING_OVER_BUDGET',
      `the probes by which stacks and contexts are followed cost ${percent(share)} of a CPU by themselves, and the budget is ${this.budget}: should they cost more than all of it, nothing is traced for some time (raise --max-overhead, or trace something else)`,
    );
  }

  /** `share` and `allowed`: of a CPU. */
  watchedInPart(share: number, allowed: number): void {
    if (this.toldWatch) return;
    this.toldWatch = true;
    this.say(
      'WATCHED_IN_PART',
      `to see what calls wait for and allocate costs ${percent(share)} of a CPU, and the budget, which is ${this.budget}, leaves ${percent(allowed)} for it: it is looked at part of the time, and spans of the rest do not say it (raise --max-overhead)`,
    );
  }

  suspended(exe: string, share: number, wait: number): void {
    this.say(
      'TRACING_SUSPENDED',
      `the probes by which stacks and contexts are followed cost ${percent(share)} of a CPU by themselves, and the budget is ${this.budget}: nothing is traced of ${exe} for ${wait} s (raise --max-overhead, or trace something else)`,
    );
  }

  resumed(exe: string): void {
    this.say('TRACING_RESUMED', `${exe} is traced again`);
  }

  failed(error: unknown): void {
    this.say(
      'GOVERNOR_FAILED',
      `probes could not be changed to keep within the budget: ${String(error)}`,
    );
  }

  /** Their numbers are other functions' from now on. */
  forget(isGone: (index: number) => boolean): void {
    const gone = [...this.told.keys()].filter(isGone);
    if (gone.some((index) => Object.values(this.untold).some(({ names }) => names.has(index)))) {
      this.tellAll();
    }
    for (const index of gone) this.told.delete(index);
  }

  private get budget(): string {
    return percent(this.rule.maxOverhead);
  }

  private say(code: string, message: string): void {
    this.onNotice({ code, message }, this.rule);
  }
}

const percent = (share: number): string => `${+(share * 100).toPrecision(2)} %`;

function nameOf(modules: readonly ProbedModule[], index: number): string {
  for (const { attachment } of modules) {
    if (!attachment.has(index)) continue;
    return attachment.plan.functions[index - attachment.firstFunction]?.name ?? '';
  }
  return '';
}
