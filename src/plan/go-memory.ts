/**
 * Where Go's runtime says what its garbage collector does, and what it allocates. All are calls
 * within the runtime, which the kernel emulates, and their arguments say all that is told: so no
 * place in its memory need be known. A test compares them with each version.
 */
import { GcPhase, SiteKind } from '../spans/records.generated.js';
import type { SupportSite } from './plan.js';
import { callSites, type Choice, type FunctionCode, goEntry, returnSites } from './sites.js';

const START = 'runtime.gcStart';
const DONE = 'runtime.gcMarkDone';
const TERMINATION = 'runtime.gcMarkTermination';
const COMMIT = 'runtime.gcControllerCommit';
const MARK = 'runtime.gcMark';
const START_WORLD = 'runtime.startTheWorldWithSema';
const ASSIST = 'runtime.gcAssistAlloc';
const SAMPLED = 'runtime.profilealloc';
const REFILLS = ['runtime.(*mcache).refill', 'runtime.(*mcache).allocLarge'];
/** The linker leaves them out where nobody asks for the profile, and then none is made. */
const PROFILE = ['runtime.MemProfile', 'runtime.memProfileInternal'];

const PHASES = [
  { function: START, phase: GcPhase.SWEEP_TERMINATION },
  { function: DONE, phase: GcPhase.MARK_TERMINATION },
];

/** What a function runs on the system stack. */
const closures = (name: string): string[] =>
  Array.from({ length: 9 }, (_, index) => `${name}.func${index + 1}`);

/** What is looked into. */
export const COLLECTOR: readonly string[] = [
  ...PHASES.flatMap(({ function: name }) => [name, ...closures(name)]),
  ...[TERMINATION, COMMIT, MARK, START_WORLD],
];
export const ASSISTS: readonly string[] = [ASSIST];
export const ALLOCATOR: readonly string[] = [SAMPLED, ...REFILLS, ...PROFILE];

const STOP_WORLD = 'runtime.stopTheWorldWithSema';
const CLOCK = ['runtime.nanotime', 'runtime.nanotime1'];
const WAKE = 'runtime.wakep';
/** What it is called with is what the runtime counts a pause as. */
const MEASURED = 'runtime.(*timeHistogram).record';
const WALL_CLOCK = ['time.now', 'runtime.time_now'];
const SET_LIVE = 'runtime.(*gcControllerState).resetLive';
const SET_GOAL = 'runtime.gcPaceScavenger';
const UPDATE = 'runtime.(*gcControllerState).update';
const RATE = 'runtime.fastexprand';
const PROFILED = 'runtime.mProf_Malloc';

/** What is looked for in them. */
export const MEMORY_CALLEES: readonly string[] = [
  ...[
    STOP_WORLD,
    ...CLOCK,
    WAKE,
    MEASURED,
    ...WALL_CLOCK,
    SET_LIVE,
    SET_GOAL,
    UPDATE,
    RATE,
    PROFILED,
  ],
];

/** The first whose profile is told the thread too, before the address and the size. */
const PROFILED_WITH_THREAD = 23;

type Code = ReadonlyMap<string, FunctionCode>;
type CalleesOf = (...names: string[]) => Set<number>;

/** A pause begins where the runtime's own count of them has it begin, and lasts as long. */
export function collectorSites(code: Code, calleesOf: CalleesOf): Choice<SupportSite[]> {
  const sites: SupportSite[] = [];
  const calls = (name: string, ...callees: string[]): SupportSite[] => {
    const body = code.get(name);
    const found = body ? callSites(body, calleesOf(...callees)) : [];
    return found.map((site) => ({ ...site, kind: 0, at: 0, name }));
  };
  const add = (kind: number, at: number, found: SupportSite[]): void => {
    for (const site of found) sites.push({ ...site, kind, at });
  };
  const later = calls(START_WORLD, MEASURED);
  const earlier = [...PHASES.flatMap(({ function: name }) => closures(name)), TERMINATION].flatMap(
    (name) => calls(name, MEASURED),
  );
  for (const { function: name, phase } of PHASES) {
    // Up to Go 1.21 a pause is counted from before the call that stops the world.
    const stops =
      later.length > 0
        ? closures(name).flatMap((closure) => calls(closure, STOP_WORLD))
        : calls(name, ...CLOCK);
    if (stops.length !== 1) return { reason: `${name} stops the world in an unknown way` };
    add(SiteKind.GC_STOP, phase, stops);
  }
  const measured = later.length > 0 ? later : earlier;
  // Up to Go 1.19 it is inlined. This comes right after the clock has been read.
  const started = measured.length > 0 ? measured : calls(START_WORLD, WAKE);
  const ended = calls(TERMINATION, ...WALL_CLOCK);
  if (started.length === 0 || ended.length === 0) {
    return { reason: `${started.length === 0 ? START_WORLD : TERMINATION} is not understood` };
  }
  const tells = measured.length > 0 ? 1 : 0;
  add(SiteKind.GC_START, tells, started);
  add(SiteKind.GC_END, tells, ended);
  add(SiteKind.GC_LIVE, 0, calls(MARK, SET_LIVE));
  // In Go 1.18 it is the first argument, and later the second, in another function.
  const early = calls(TERMINATION, SET_GOAL);
  add(
    SiteKind.GC_GOAL,
    early.length > 0 ? 0 : 1,
    early.length > 0 ? early : calls(COMMIT, SET_GOAL),
  );
  return { sites };
}

/** Where a goroutine that allocates begins to mark, and has done its share. */
export function assistSites(code: Code): Choice<SupportSite[]> {
  const body = code.get(ASSIST);
  const entry = body ? goEntry(body) : { reason: 'is not there' };
  if ('reason' in entry) return { reason: `${ASSIST} ${entry.reason}` };
  const returns = body ? returnSites(body) : { sites: [] };
  if ('reason' in returns) return { reason: `${ASSIST} ${returns.reason}` };
  const common = { at: 0, name: ASSIST };
  return {
    sites: [
      { ...entry.sites, kind: SiteKind.ASSIST, ...common },
      ...returns.sites.map((site) => ({ ...site, kind: SiteKind.ASSIST_END, ...common })),
    ],
  };
}

/** Where allocations are sampled for the program's own profile; without one, where memory is set aside. */
export function allocationSites(
  code: Code,
  calleesOf: CalleesOf,
  minor: number,
): Choice<SupportSite[]> {
  const calls = (name: string, callee: string, kind: number, at: number): SupportSite[] => {
    const body = code.get(name);
    const found = body ? callSites(body, calleesOf(callee)) : [];
    return found.map((site) => ({ ...site, kind, at, name }));
  };
  if (PROFILE.some((name) => code.has(name))) {
    const rates = calls(SAMPLED, RATE, SiteKind.SAMPLE_RATE, 0);
    const size = minor >= PROFILED_WITH_THREAD ? 2 : 1;
    const samples = calls(SAMPLED, PROFILED, SiteKind.SAMPLE, size);
    if (rates.length > 0 && samples.length > 0) return { sites: [...rates, ...samples] };
  }
  const refills = REFILLS.map((name) => calls(name, UPDATE, SiteKind.REFILL, 0));
  if (refills.some((found) => found.length === 0)) {
    return { reason: `${REFILLS.join(' or ')} is not understood` };
  }
  return { sites: refills.flat() };
}
