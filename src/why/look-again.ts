/**
 * A second, closer look: at what the first one blames, and at what had been left out of it to keep
 * within the budget. Whatever is left out, its time is its caller's, and nobody can tell the two apart
 * who has not looked at both.
 */
import type { WhyReport } from './analysis.js';
import { type CalledFunction, shareOf, tooDear } from './narrow.js';

export interface Closer {
  /** Requests of this name alone: of others too little is looked at. */
  request: string;
  functions: string[];
  /** Of those the ones that had been left out. */
  added: string[];
  /** What the budget does not pay for this time either. */
  leftOut: CalledFunction[];
}

export interface FirstLook {
  /** What it says so far. */
  report: WhyReport;
  /** All functions, as they were counted, and those that it leaves out. */
  called: readonly CalledFunction[];
  leftOut: readonly CalledFunction[];
  /** Looked at again whether or not they are on the path. */
  kept: ReadonlySet<string>;
  budget: number;
}

/** What is less sees too few requests. */
const LEAST_MS = 2_000;
/** Of the slow requests, where they agree on somebody who is not to blame for all that is known. */
const AGREEMENT = 1 / 2;

/** How much of the duration is for the closer look; the first one keeps half of it at least. */
export const closerMs = (durationMs: number): number =>
  Math.min(durationMs / 2, Math.max(durationMs / 3, LEAST_MS));

/** null: there is nothing that a closer look could find. */
export function closerLook({ report, called, leftOut, kept, budget }: FirstLook): Closer | null {
  if (leftOut.length === 0 || !mayBeOthers(report)) return null;
  const before = new Set(leftOut.map(({ name }) => name));
  const onPath = namesIn(report);
  const again = called.filter(
    ({ name }) => !before.has(name) && (onPath.has(name) || kept.has(name)),
  );
  // They were looked at before, and are called seldom: nearly all of the budget is for the others.
  const rest = budget - again.reduce((sum, each) => sum + shareOf(each), 0);
  const still = tooDear(leftOut, rest);
  const added = leftOut.filter((each) => !still.some(({ name }) => name === each.name));
  if (added.length === 0) return null;
  const names = added.map(({ name }) => name);
  return {
    request: report.request,
    functions: [...again.map(({ name }) => name), ...names],
    added: names,
    leftOut: still,
  };
}

/** The time that was lost may be of functions that were left out. */
function mayBeOthers({ verdict, nothing, suspect }: WhyReport): boolean {
  // Who calls whom too often is known already.
  if (verdict) return verdict.calls === null;
  if (nothing === 'outside') return true;
  // What holds all that is left out is slow in any way, and so is nobody to blame.
  return nothing === 'scattered' && suspect !== null && suspect.agree >= suspect.of * AGREEMENT;
}

function namesIn({ path, verdict, suspect }: WhyReport): Set<string> {
  const names = new Set(path.map(({ name }) => name));
  for (const each of [verdict?.function, verdict?.by?.function, suspect?.function]) {
    if (each !== undefined) names.add(each);
  }
  return names;
}

/** The closer look has the answer only where it knows more; requests of the two are never mixed. */
export function saysMore(first: WhyReport, again: WhyReport, { added }: Closer): boolean {
  const { verdict } = again;
  if (!verdict || again.request !== first.request) return false;
  return added.includes(verdict.function) || added.includes(verdict.calls?.function ?? '');
}
