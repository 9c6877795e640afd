/**
 * Who is to blame, or nobody.
 *
 * Whoever picks slow requests finds every function slower in them: how slow they are chose them. So
 * what counts is whether they are slow in the same place, and whether normal ones vary there just as
 * much. Each request has a culprit, the function of which it is slower than normal by the most. If
 * nothing but chance made them slow, the slow ones' culprits would be drawn as those of normal ones.
 */
import { BLOCKED_REASONS, type TimeReason } from '../spans/time-attributes.js';
import { Comparison, type FunctionDifference, OUTSIDE } from './compare.js';
import type { Criterion, Split } from './groups.js';
import type { Failure, Profile } from './profile.js';
import { atLeast, correlation, median, quantileOf } from './statistics.js';

/** What the time was spent on; null: spans do not say. */
export type Reason = TimeReason | 'calls' | 'error' | 'allocation';

export interface Verdict {
  function: string;
  reason: Reason | null;
  /** More of its time in a slow request than in a normal one, and what share of the difference. */
  differenceNs: number;
  share: number;
  /** Of the slow requests that were looked at. */
  agree: number;
  of: number;
  /** Whom it waited for. */
  by: { function: string; traceId: string | null } | null;
  /** What it calls too often; of a request on average. */
  calls: { function: string; slow: number; normal: number } | null;
  error: { type: string | null; message: string | null } | null;
  /** More bytes than in a normal request. */
  allocated: number;
  /** What the slow ones have in common. */
  mark: Mark | null;
  /** A trace that shows it. */
  traceId: string;
}

export interface Mark {
  key: string;
  value: string;
  slow: number;
  ofSlow: number;
  normal: number;
  ofNormal: number;
}

export type Nothing =
  /** There are too few of them to tell. */
  | 'few'
  /** The slowest are hardly slower than the others, or all of one moment. */
  | 'alike'
  /** They are slow in different places, or where normal ones vary as much. */
  | 'scattered'
  /** They had no CPU to run on, or ran where nothing is traced. */
  | 'cpu'
  | 'outside';

/** Of those that stand out by themselves. */
const LEAST_REQUESTS = 8;
const LEAST_RATIO = 2;
/** What the scheduler alone may take. */
const LEAST_DIFFERENCE_NS = 1e6;
/** Of ten equal parts of the time that was looked at. A machine that hangs for a moment is in one. */
const PARTS = 10;
const LEAST_PARTS = 3;
/** Of the slow requests, and of the difference: what is less would not make the others fast. */
const LEAST_AGREEMENT = 1 / 3;
const LEAST_SHARE = 1 / 4;
/** The chance that somebody is blamed for nothing, of all functions together. */
const ERROR = 0.001;
/** What chance may be wrong by: long delays need not strike exactly where short ones do. */
const MARGIN = 1.5;
/** So much faster are nine of ten normal requests than nine of ten slow ones, if these are of a kind of their own. */
const KIND_OF_ITS_OWN = 3;
const LIKELY = 0.6;

export interface Judged {
  comparison: Comparison;
  verdict: Verdict | null;
  nothing: Nothing | null;
  /** In which function most of the slow ones were slow, whether or not it is to blame. */
  suspect: Suspect | null;
}

export interface Suspect {
  function: string;
  agree: number;
  of: number;
}

export function judge({ slow, normal }: Split, criterion: Criterion): Judged {
  const comparison = new Comparison(slow, normal);
  const [name, agree] = mostOften(comparison.slowCulprits);
  const suspect = agree === 0 ? null : { function: name, agree, of: slow.length };
  const without = (nothing: Nothing): Judged => ({ comparison, verdict: null, nothing, suspect });
  if (slow.length === 0) return without('few');
  if (criterion.kind === 'errors') {
    return { comparison, verdict: judgeErrors(comparison), nothing: null, suspect: null };
  }
  const own = criterion.kind === 'outliers';
  if (own) {
    if (slow.length < LEAST_REQUESTS || normal.length < LEAST_REQUESTS) return without('few');
    if (!standOut(slow, normal)) return without('alike');
  }
  if (comparison.waitedForCpuNs > comparison.differenceNs / 2) return without('cpu');
  const found = comparison.functions.find((each) => each.name === name);
  if (!found || agree < slow.length * (own ? LEAST_AGREEMENT : 0.5)) return without('scattered');
  if (name === OUTSIDE) return without('outside');
  if (found.share < LEAST_SHARE) return without('scattered');
  if (own && !isEvident(comparison, found, agree)) return without('scattered');
  return { comparison, verdict: blame(comparison, found, agree), nothing: null, suspect };
}

function standOut(slow: readonly Profile[], normal: readonly Profile[]): boolean {
  const slowNs = median(slow.map(({ durationNs }) => durationNs));
  const normalNs = median(normal.map(({ durationNs }) => durationNs));
  if (slowNs < normalNs * LEAST_RATIO || slowNs - normalNs < LEAST_DIFFERENCE_NS) return false;
  const starts = [...slow, ...normal].map(({ startNs }) => startNs);
  const first = starts.reduce((a, b) => Math.min(a, b), Infinity);
  const last = starts.reduce((a, b) => Math.max(a, b), 0);
  const part = Math.max(1, last - first + 1) / PARTS;
  return (
    new Set(slow.map(({ startNs }) => Math.floor((startNs - first) / part))).size >= LEAST_PARTS
  );
}

function isEvident(comparison: Comparison, found: FunctionDifference, agree: number): boolean {
  const { slow, normal, normalCulprits, functions } = comparison;
  // No delay makes calls.
  if (tooManyCalls(comparison, found)) return true;
  const usual = normalCulprits.filter((each) => each === found.name).length;
  const asCulprit = (usual + 1) / (normal.length + functions.length + 1);
  // Or they strike whoever runs the longest.
  const wholeNs = functions.reduce((sum, { normalNs }) => sum + normalNs, 0);
  const byTime = wholeNs > 0 ? found.normalNs / wholeNs : 0;
  const chance = Math.min(1, MARGIN * Math.max(asCulprit, byTime));
  if (atLeast(agree, slow.length, chance) * functions.length <= ERROR) return true;
  // Where all time is spent in one place, so is any delay; but none that is no wait for a CPU makes
  // requests of a kind of their own.
  const reason = reasonOf(found);
  const isWait = reason !== null && reason !== 'running' && reason !== 'allocation';
  const mostAgree = agree >= slow.length * LIKELY;
  return mostAgree && (isWait || chance < LIKELY) && isOfItsOwnKind(slow, normal);
}

function isOfItsOwnKind(slow: readonly Profile[], normal: readonly Profile[]): boolean {
  const durations = (of: readonly Profile[]): number[] => of.map(({ durationNs }) => durationNs);
  return quantileOf(durations(slow), 0.1) >= KIND_OF_ITS_OWN * quantileOf(durations(normal), 0.9);
}

function mostOften(names: readonly string[]): [string, number] {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...counts].reduce((a, b) => (b[1] > a[1] ? b : a), ['', 0]);
}

function blame(comparison: Comparison, found: FunctionDifference, agree: number): Verdict {
  const agreeing = comparison.slow.filter((_, at) => comparison.slowCulprits[at] === found.name);
  const verdict: Verdict = {
    function: found.name,
    reason: null,
    differenceNs: found.differenceNs,
    share: found.share,
    agree,
    of: comparison.slow.length,
    by: null,
    calls: null,
    error: null,
    allocated: Math.max(0, found.allocated),
    mark: commonMark(comparison),
    traceId: typical(agreeing),
  };
  const calls = tooManyCalls(comparison, found);
  if (calls) {
    verdict.function = calls.caller;
    verdict.reason = 'calls';
    verdict.calls = calls;
    return verdict;
  }
  verdict.reason = reasonOf(found);
  verdict.by = waitedFor(agreeing, found.name, verdict.reason);
  return verdict;
}

/** Bytes a nanosecond: nothing but allocating comes near to it. */
const ALLOCATING = 0.2;

function reasonOf({ times, differenceNs, allocated }: FunctionDifference): Reason | null {
  let reason: TimeReason | null = null;
  for (const each of ['running', ...BLOCKED_REASONS] as const) {
    if ((times[each] ?? 0) > (reason === null ? 0 : (times[reason] ?? 0))) reason = each;
  }
  const isBusy = reason === 'running' || reason === 'gc_assist';
  return isBusy && allocated > differenceNs * ALLOCATING ? 'allocation' : reason;
}

const MANY_TIMES = 3;
const MANY_MORE = 5;

interface Calls {
  caller: string;
  function: string;
  slow: number;
  normal: number;
}

/** Who calls it, or what calls it, too often; null: its calls are as many as ever, or far slower. */
function tooManyCalls(comparison: Comparison, found: FunctionDifference): Calls | null {
  const { slowCalls, normalCalls, slowNs, normalNs } = found;
  if (!isMany(found)) return null;
  const slower = slowNs / slowCalls / (normalNs / Math.max(normalCalls, 1e-9));
  if (normalCalls > 0 && slower > MANY_TIMES) return null;
  const seen = new Set<string>();
  for (let many = found; ;) {
    seen.add(many.name);
    const caller = comparison.callersOf(many.name)[0]?.caller;
    const above = comparison.functions.find(({ name }) => name === caller);
    if (above && isMany(above) && !seen.has(above.name)) {
      many = above;
      continue;
    }
    return {
      // Who is called by nobody that is traced is named itself.
      caller: above?.name ?? many.name,
      function: many.name,
      slow: many.slowCalls,
      normal: many.normalCalls,
    };
  }
}

const isMany = ({ slowCalls, normalCalls }: FunctionDifference): boolean =>
  slowCalls >= MANY_TIMES * Math.max(1, normalCalls) && slowCalls - normalCalls >= MANY_MORE;

function waitedFor(
  agreeing: readonly Profile[],
  name: string,
  reason: Reason | null,
): Verdict['by'] {
  const waits = agreeing.flatMap((profile) => {
    const wait = profile.waits.find((each) => each.function === name && each.reason === reason);
    return wait?.byFunction == null ? [] : [{ by: wait.byFunction, traceId: wait.byTraceId }];
  });
  const [by, times] = mostOften(waits.map((each) => each.by));
  if (times === 0) return null;
  const traceId = waits.find((each) => each.by === by && each.traceId !== null)?.traceId;
  return { function: by, traceId: traceId ?? null };
}

/** In the middle of them. */
function typical(profiles: readonly Profile[]): string {
  const sorted = [...profiles].sort((a, b) => a.durationNs - b.durationNs);
  return sorted[sorted.length >> 1]?.traceId ?? '';
}

const LEAST_CORRELATION = 0.6;

/** What most slow requests say of themselves and few others do; null: nothing, or too few say it. */
function commonMark({ slow, normal }: Comparison): Mark | null {
  if (slow.length < LEAST_REQUESTS || normal.length < LEAST_REQUESTS) return null;
  const counts = new Map<string, Mark>();
  const count = (profiles: readonly Profile[], which: 'slow' | 'normal'): void => {
    for (const { marks } of profiles) {
      for (const [key, value] of marks) {
        const both = `${key}\0${value}`;
        let mark = counts.get(both);
        if (!mark && which === 'normal') continue;
        if (!mark) {
          mark = { key, value, slow: 0, ofSlow: slow.length, normal: 0, ofNormal: normal.length };
          counts.set(both, mark);
        }
        mark[which]++;
      }
    }
  };
  count(slow, 'slow');
  count(normal, 'normal');
  let best: Mark | null = null;
  let most = LEAST_CORRELATION;
  for (const mark of counts.values()) {
    const strength = correlation(
      mark.slow,
      mark.ofSlow - mark.slow,
      mark.normal,
      mark.ofNormal - mark.normal,
    );
    if (strength <= most) continue;
    most = strength;
    best = mark;
  }
  return best;
}

/** The error that most of them have, where it came up. */
function judgeErrors(comparison: Comparison): Verdict {
  const { slow } = comparison;
  const nameOf = (failure: Failure | null): string => JSON.stringify(failure);
  const [most, agree] = mostOften(slow.map(({ failure }) => nameOf(failure)));
  const agreeing = slow.filter(({ failure }) => nameOf(failure) === most);
  const failure = agreeing[0]?.failure ?? { function: OUTSIDE, type: null, message: null };
  const found = comparison.functions.find(({ name }) => name === failure.function);
  const others = slow.filter((each) => !agreeing.includes(each));
  return {
    function: failure.function,
    reason: 'error',
    differenceNs: found?.differenceNs ?? 0,
    share: agree / slow.length,
    agree,
    of: slow.length,
    by: null,
    calls: null,
    error: { type: failure.type, message: failure.message },
    allocated: 0,
    // Requests with other errors have nothing to do with this one.
    mark: commonMark(new Comparison(agreeing, [...comparison.normal, ...others])),
    traceId: typical(agreeing),
  };
}
