/** What tracing has cost its targets, in nanoseconds of their threads. */
import { callCostNs, countCostNs, kernelCostNs, supportCostNs } from '../plan/cost.js';
import type { HostCosts } from '../plan/host-costs.js';
import type { ModulePlan } from '../plan/plan.js';
import type { ProgramTime } from './run-times.js';
import type { FunctionStatistics } from './statistics.js';

export interface Spent {
  /** By what a plan says of its calls. */
  predictedNs: number;
  /** Of that, what the kernel takes for hits before our programs run, whose time it measures. */
  kernelNs: number;
}

export const NOTHING_SPENT: Spent = { predictedNs: 0, kernelNs: 0 };

export const add = (a: Spent, b: Spent): Spent => ({
  predictedNs: a.predictedNs + b.predictedNs,
  kernelNs: a.kernelNs + b.kernelNs,
});

/**
 * For all calls so far of a plan's functions, whose statistics these are. Hits for our own bookkeeping
 * are known where the kernel times runs of programs now and then.
 */
export function spentOn(
  plan: ModulePlan,
  costs: HostCosts,
  statistics: readonly FunctionStatistics[],
  programs: readonly Pick<ProgramTime, 'program' | 'runCount'>[],
): Spent {
  const hits = programs.reduce(
    (sum, { program, runCount }) => sum + (program === 'support' ? runCount : 0),
    0,
  );
  const supportNs = hits * supportCostNs(plan, costs);
  const spent = { predictedNs: supportNs + hits * costs.countNs, kernelNs: supportNs };
  plan.functions.forEach((fn, index) => {
    const counted = statistics[index];
    if (!counted || counted.calls === 0) return;
    const { calls, returns, unpairedReturns, spans } = counted;
    const { entryNs, returnNs } = kernelCostNs(fn, costs);
    spent.kernelNs += calls * entryNs + (returns + unpairedReturns) * returnNs;
    // Of the others only the entries were seen: their functions cost too much, or their ends are hidden.
    const whole = Math.min(calls, returns + unpairedReturns);
    const callNs = callCostNs(fn, costs);
    spent.predictedNs += whole * callNs + (calls - whole) * (countCostNs(fn, costs) ?? callNs);
    spent.predictedNs += spans * costs.spanNs;
  });
  return spent;
}
