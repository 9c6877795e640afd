/** What is traced where: the wishes of one command line, or one rule of the agent. */
import type { PlanRequest } from '../plan/plan-module.js';
import type { SpanKey } from '../spans/span-key.js';
import type { TreeFilter } from '../spans/trees.js';
import type { Target } from '../targets/target.js';
import type { RuleOptions } from './encode.js';

/**
 * unknown: something about the process is still being asked for. not yet: it does not fit, but may
 * soon, by what it tells of itself.
 */
export type Fit = 'yes' | 'no' | 'unknown' | 'not yet';

/** How many of the processes that run an executable a rule may select. */
export type Reach = 'all' | 'some' | 'none';

/** As all processes have it that run it. */
export type Executable = Pick<Target, 'exe' | 'fileId'>;

export interface TraceRule {
  /** Unique among all that a session ever has. */
  readonly id: string;
  readonly name: string;
  /** Whether a process falls under it, as /proc says now. */
  fits(pid: number): Fit;
  reach(executable: Executable): Reach;
  readonly request: PlanRequest;
  readonly options: RuleOptions;
  readonly filter: TreeFilter;
  /** What spans are counted by; null: nothing. */
  readonly by: SpanKey | null;
  readonly followForks: boolean;
  /** What tracing may cost a target, as a share of one CPU; 1: any cost. */
  readonly maxOverhead: number;
  /** A process stays under the rule when it executes another program. */
  readonly followExecs: boolean;
  /**
   * Processes that start later are stopped at their exec until their probes are there, if the file
   * name of their executable begins like one of these.
   */
  readonly hold: readonly string[];
}

/** A rule that holds for a process. */
export interface Decision {
  rule: TraceRule;
  /** All processes of the executable fall under it, so that one attachment serves them all. */
  whole: boolean;
}

/**
 * The first rule that selects the process; unknown where an earlier one may yet turn out to, or where
 * none does but one may soon.
 */
export function decide(rules: readonly TraceRule[], target: Target): Decision | 'unknown' | null {
  let whole = true;
  let soon = false;
  for (const rule of rules) {
    const fit = rule.fits(target.pid);
    if (fit === 'unknown') return 'unknown';
    if (fit === 'not yet') soon = true;
    const reach = rule.reach(target);
    if (fit === 'yes') return { rule, whole: whole && reach === 'all' };
    if (reach !== 'none') whole = false;
  }
  return soon ? 'unknown' : null;
}

/** Whether a rule has all processes of an executable that it selects: no earlier one may have some. */
export function hasWhole(
  rules: readonly TraceRule[],
  rule: TraceRule,
  executable: Executable,
): boolean {
  const earlier = rules.slice(0, rules.indexOf(rule));
  return (
    rule.reach(executable) === 'all' && earlier.every((each) => each.reach(executable) === 'none')
  );
}

/** No rule that holds can be meant for processes of this executable. */
export const neverHolds = (rules: readonly TraceRule[], executable: Executable): boolean =>
  rules.every((rule) => rule.hold.length === 0 || rule.reach(executable) === 'none');
