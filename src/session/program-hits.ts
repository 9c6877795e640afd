/** How often the sites of each program were hit, by what our programs count of functions. */
import type { ProgramRunTime } from '../native/native.js';
import type { ModuleProbes } from './attachment.js';
import type { ProgramCounts } from './run-times.js';

/** By function number; the first is that of the support sites. */
export interface SiteCounts {
  calls: Float64Array;
  /** Returns, paired or not. */
  returns: Float64Array;
}

/** Functions that are left by a panic or an exception have returned too. */
export function programHits(
  { plan, firstFunction }: Pick<ModuleProbes, 'plan' | 'firstFunction'>,
  { calls, returns }: SiteCounts,
): Map<string, number> {
  let [enter, leave, around] = [0, 0, 0];
  plan.functions.forEach((fn, index) => {
    const began = calls[firstFunction + index] ?? 0;
    const ended = returns[firstFunction + index] ?? 0;
    if (fn.trampoline) {
      around += began + ended;
    } else {
      enter += began;
      if (fn.returns.length > 0) leave += ended;
    }
  });
  return new Map([
    ['enter', enter],
    ['enter_trampoline', enter],
    ['leave', leave],
    ['leave_trampoline', leave],
    ['around', around],
    // Of all modules: the kernel's runs say which of them they were in.
    ['support', calls[0] ?? 0],
  ]);
}

/** Where functions have programs of their own, those of one name are taken together. */
export function programCounts(
  times: readonly ProgramRunTime[],
  hits: ReadonlyMap<string, number>,
): ProgramCounts[] {
  const counts = new Map<string, ProgramCounts>();
  for (const { program, runTimeNs, runCount } of times) {
    const known = counts.get(program);
    counts.set(program, {
      program,
      hits: hits.get(program) ?? 0,
      runTimeNs: (known?.runTimeNs ?? 0) + runTimeNs,
      runCount: (known?.runCount ?? 0) + runCount,
    });
  }
  return [...counts.values()];
}
