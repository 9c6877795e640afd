/** The engine with its programs' run times in sight. */
import { startTrace, type Trace, type TraceOptions } from '../../src/engine.js';
import type { Native, ProgramRunTime, Programs } from '../../src/native/native.js';

export interface WatchedTrace extends Trace {
  /** Nanoseconds of one run of a program, and how often it has run. */
  run(program: string): { ns: number; count: number };
}

export async function startWatched(native: Native, options: TraceOptions): Promise<WatchedTrace> {
  const loaded: Programs[] = [];
  const load: Native['load'] = async (each) => {
    const programs = await native.load(each);
    loaded.push(programs);
    return programs;
  };
  const watched = Object.assign(Object.create(native) as Native, { load });
  const trace = await startTrace(watched, options);
  return Object.assign(trace, {
    run: (program: string) =>
      oneRun(
        loaded.flatMap((each) => each.runTimes()),
        program,
      ),
  });
}

/** Nanoseconds of one run of a program; NaN if it has not run. */
export function oneRun(
  times: readonly ProgramRunTime[],
  name: string,
): { ns: number; count: number } {
  const own = times.filter(({ program }) => program === name);
  const count = own.reduce((sum, { runCount }) => sum + runCount, 0);
  return { ns: own.reduce((sum, { runTimeNs }) => sum + runTimeNs, 0) / count, count };
}
