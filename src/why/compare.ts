/** Slow requests against normal ones, function by function. */
import type { Times } from '../spans/time-attributes.js';
import { addTimes, type Profile, type Step, stepBeneath } from './profile.js';
import { median } from './statistics.js';
import { MAX_DEPTH } from './waiters.js';

/** Time of the program's span that is in no traced call. */
export const OUTSIDE = '(outside of what is traced)';

/** Of a request on average; times are those that the request waited for the function alone. */
export interface FunctionDifference {
  name: string;
  slowNs: number;
  normalNs: number;
  differenceNs: number;
  /** Of the whole difference; all of them together are 1. */
  share: number;
  slowCalls: number;
  normalCalls: number;
  /** What the difference was spent on, as far as spans say. */
  times: Times;
  allocated: number;
  errors: number;
}

/** A step of the way from the outermost call to what explains most of the difference. */
export interface PathStep {
  name: string;
  slowNs: number;
  normalNs: number;
  selfSlowNs: number;
  selfNormalNs: number;
  slowCalls: number;
  normalCalls: number;
}

interface Totals {
  selfNs: number;
  calls: number;
  times: Times;
  allocated: number;
  errors: number;
}

export class Comparison {
  readonly functions: FunctionDifference[];
  readonly differenceNs: number;
  /** Of whom each request was slower than normal the most. */
  readonly slowCulprits: readonly string[];
  readonly normalCulprits: readonly string[];
  readonly slowTree: Step;
  readonly normalTree: Step;

  constructor(
    readonly slow: readonly Profile[],
    readonly normal: readonly Profile[],
  ) {
    const slowTotals = slow.map(totalsOf);
    const normalTotals = normal.map(totalsOf);
    const names = new Set([...slowTotals, ...normalTotals].flatMap((each) => [...each.keys()]));
    this.differenceNs =
      mean(slow, (each) => each.durationNs) - mean(normal, (each) => each.durationNs);
    this.functions = [...names]
      .map((name) => difference(name, slowTotals, normalTotals, this.differenceNs))
      .sort((a, b) => b.differenceNs - a.differenceNs);
    const usual = new Map(
      [...names].map((name) => [name, median(normalTotals.map((each) => busyNs(each.get(name))))]),
    );
    this.slowCulprits = slowTotals.map((each) => culpritOf(each, usual));
    this.normalCulprits = normalTotals.map((each) => culpritOf(each, usual));
    this.slowTree = mergedTree(slow);
    this.normalTree = mergedTree(normal);
  }

  /** How much more time a request was ready to run and had no CPU. */
  get waitedForCpuNs(): number {
    return this.functions.reduce((sum, { times }) => sum + cpuWaitNs(times), 0);
  }

  path(weigh: (slow: Step, normal: Step | undefined) => number = this.weighTime): PathStep[] {
    const path: PathStep[] = [];
    let slow: Step | null = this.slowTree;
    let normal: Step | undefined = this.normalTree;
    for (let depth = 0; slow && depth < MAX_PATH; depth++) {
      path.push(this.pathStep(slow, normal));
      let next: Step | null = null;
      let most = Math.max(0, this.ownWeight(slow, normal, weigh));
      for (const step of slow.beneath.values()) {
        const weight = weigh(step, normal?.beneath.get(step.name));
        if (weight <= most) continue;
        most = weight;
        next = step;
      }
      if (next) normal = normal?.beneath.get(next.name);
      slow = next;
    }
    // An outermost call is its request.
    const [first, second] = path;
    return first && first.name === second?.name ? path.slice(1) : path;
  }

  /** How much more often one calls the other than in normal requests, by who calls. */
  callersOf(name: string): { caller: string; more: number }[] {
    const more = new Map<string, number>();
    const add = (step: Step, sign: number, depth: number): void => {
      for (const beneath of step.beneath.values()) {
        if (beneath.name === name && step.name !== name) {
          more.set(step.name, (more.get(step.name) ?? 0) + beneath.calls * sign);
        }
        if (depth < MAX_DEPTH) add(beneath, sign, depth + 1);
      }
    };
    add(this.slowTree, 1 / Math.max(1, this.slow.length), 0);
    add(this.normalTree, -1 / Math.max(1, this.normal.length), 0);
    return [...more]
      .map(([caller, calls]) => ({ caller, more: calls }))
      .sort((a, b) => b.more - a.more);
  }

  private readonly weighTime = (slow: Step, normal: Step | undefined): number =>
    this.perSlow(slow.totalNs) - this.perNormal(normal?.totalNs);

  /** What speaks for stopping at this step. */
  private ownWeight(
    slow: Step,
    normal: Step | undefined,
    weigh: (slow: Step, normal: Step | undefined) => number,
  ): number {
    if (weigh !== this.weighTime) return 0;
    return this.perSlow(slow.selfNs) - this.perNormal(normal?.selfNs);
  }

  private pathStep(slow: Step, normal: Step | undefined): PathStep {
    return {
      name: slow.name,
      slowNs: this.perSlow(slow.totalNs),
      normalNs: this.perNormal(normal?.totalNs),
      selfSlowNs: this.perSlow(slow.selfNs),
      selfNormalNs: this.perNormal(normal?.selfNs),
      slowCalls: this.perSlow(slow.calls),
      normalCalls: this.perNormal(normal?.calls),
    };
  }

  private perSlow(sum: number): number {
    return sum / Math.max(1, this.slow.length);
  }

  private perNormal(sum = 0): number {
    return sum / Math.max(1, this.normal.length);
  }
}

const MAX_PATH = 32;

const mean = <T>(of: readonly T[], value: (each: T) => number): number =>
  of.reduce((sum, each) => sum + value(each), 0) / Math.max(1, of.length);

function totalsOf({ root }: Profile): Map<string, Totals> {
  const totals = new Map<string, Totals>();
  const add = (name: string, step: Step, depth: number): void => {
    let found = totals.get(name);
    if (!found) {
      found = { selfNs: 0, calls: 0, times: {}, allocated: 0, errors: 0 };
      totals.set(name, found);
    }
    found.selfNs += step.selfNs;
    found.calls += step.calls;
    found.allocated += step.allocated;
    found.errors += step.errors;
    addTimes(found.times, step.times);
    if (depth >= MAX_DEPTH) return;
    for (const beneath of step.beneath.values()) add(beneath.name, beneath, depth + 1);
  };
  add(OUTSIDE, root, 0);
  return totals;
}

const allocatedOf = ({ allocated }: Totals): number => allocated;

/** Of requests that say where its time went: to keep to a budget, not all are looked at so closely. */
function toldOf(name: string, requests: readonly Map<string, Totals>[]): Totals[] {
  return requests.flatMap((each) => {
    const totals = each.get(name);
    return totals && Object.keys(totals.times).length > 0 ? [totals] : [];
  });
}

function difference(
  name: string,
  slow: readonly Map<string, Totals>[],
  normal: readonly Map<string, Totals>[],
  wholeNs: number,
): FunctionDifference {
  const slowNs = mean(slow, (each) => each.get(name)?.selfNs ?? 0);
  const normalNs = mean(normal, (each) => each.get(name)?.selfNs ?? 0);
  const slowTold = toldOf(name, slow);
  const normalTold = toldOf(name, normal);
  const times: Times = {};
  for (const { times: own } of slowTold) addTimes(times, own, 1 / slowTold.length);
  for (const { times: own } of slowTold.length > 0 ? normalTold : []) {
    addTimes(times, own, -1 / normalTold.length);
  }
  return {
    name,
    slowNs,
    normalNs,
    differenceNs: slowNs - normalNs,
    share: wholeNs === 0 ? 0 : (slowNs - normalNs) / wholeNs,
    slowCalls: mean(slow, (each) => each.get(name)?.calls ?? 0),
    normalCalls: mean(normal, (each) => each.get(name)?.calls ?? 0),
    times,
    allocated: mean(slowTold, allocatedOf) - mean(normalTold, allocatedOf),
    errors: mean(slow, (each) => each.get(name)?.errors ?? 0),
  };
}

const cpuWaitNs = ({ runnable = 0, throttled = 0 }: Times): number => runnable + throttled;

/** Without its waiting for a CPU, which comes to whoever happens to run. */
const busyNs = (totals: Totals | undefined): number =>
  totals ? Math.max(0, totals.selfNs - cpuWaitNs(totals.times)) : 0;

function culpritOf(
  totals: ReadonlyMap<string, Totals>,
  usual: ReadonlyMap<string, number>,
): string {
  let culprit = OUTSIDE;
  let most = 0;
  for (const [name, each] of totals) {
    const more = busyNs(each) - (usual.get(name) ?? 0);
    if (more <= most) continue;
    most = more;
    culprit = name;
  }
  return culprit;
}

/** Sums of all of them. */
function mergedTree(profiles: readonly Profile[]): Step {
  const merged: Step = {
    name: profiles[0]?.request ?? '',
    calls: 0,
    selfNs: 0,
    totalNs: 0,
    times: {},
    allocated: 0,
    errors: 0,
    beneath: new Map(),
  };
  for (const { root } of profiles) merge(merged, root, 0);
  return merged;
}

function merge(into: Step, step: Step, depth: number): void {
  into.calls += step.calls;
  into.selfNs += step.selfNs;
  into.totalNs += step.totalNs;
  into.allocated += step.allocated;
  into.errors += step.errors;
  addTimes(into.times, step.times);
  if (depth >= MAX_DEPTH) return;
  for (const beneath of step.beneath.values()) {
    merge(stepBeneath(into, beneath.name), beneath, depth + 1);
  }
}
