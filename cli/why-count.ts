/** How often functions are called, before `trace why` looks at them: which the budget pays for. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { TraceOptions } from '../src/engine.js';
import { siteCostNs } from '../src/plan/cost.js';
import type { ModuleRole } from '../src/plan/module-role.js';
import { plural } from '../src/sinks/tree-format.js';
import { type CalledFunction, tooDear } from '../src/why/narrow.js';
import { type Context, say, sayProgress } from './context.js';

export type Wanted = Omit<TraceOptions, 'sinks'>;

export interface Counted {
  called: CalledFunction[];
  leftOut: CalledFunction[];
  /** What functions may cost, in CPUs. */
  budget: number;
  /** By name, what means this function and no other module's. */
  patterns: Map<string, string>;
}

/** How long calls are only counted, to see which functions are called too often. */
const COUNT_MS = 1_000;
/** Of the budget; what belongs to no function, and calls that come more often later, have the rest. */
const FOR_FUNCTIONS = 0.7;

/**
 * The governor would stop spans altogether before it withdraws anything. So calls are counted first,
 * and what is too dear is left out from the beginning.
 */
export async function countCalls(context: Context, options: Wanted): Promise<Counted> {
  const { maxOverhead, selection } = options;
  if (maxOverhead >= 1 || selection.command) {
    return { called: [], leftOut: [], budget: Infinity, patterns: new Map() };
  }
  sayProgress(context, 'counting calls for a second…');
  const counting = await context.startTrace(context.native(), {
    ...options,
    entryOnly: true,
    sinks: [],
  });
  const from = performance.now();
  await Promise.race([sleep(COUNT_MS), counting.ended]);
  const seconds = (performance.now() - from) / 1e3;
  const { functions } = await counting.stop();
  const { modules, costs, targets } = counting.plan;
  const hitNs = new Map(
    modules.flatMap(({ plan }) =>
      plan.functions.map(({ name, entry }) => [name, siteCostNs(entry, costs)] as const),
    ),
  );
  const returnNs = costs.carriedOutNs ?? costs.singleSteppedNs;
  const called = functions.map(({ name, calls }) => ({
    name,
    callsPerSecond: calls / seconds,
    // Of returns nothing is planned yet: no ret is emulated.
    callNs: (hitNs.get(name) ?? 0) + returnNs + costs.enterNs + costs.leaveNs + costs.spanNs,
  }));
  const budget = maxOverhead * targets.length * FOR_FUNCTIONS;
  const leftOut = tooDear(called, budget);
  if (leftOut.length > 0) {
    say(
      context,
      `left out, to keep within the budget: ${listed(leftOut)}`,
      'their time is their callers’; --max-overhead raises the budget',
    );
  }
  const patterns = modules.flatMap(({ role, plan }) =>
    plan.functions.map(({ name }) => [name, patternIn(role, name)] as const),
  );
  return { called, leftOut, budget, patterns: new Map(patterns) };
}

function patternIn(role: ModuleRole, name: string): string {
  if (role.kind === 'main') return name;
  return `${role.kind === 'kernel' ? 'kernel' : role.path}:${name}`;
}

const NAMED = 3;

/** The first few by name. */
export function listed(functions: readonly CalledFunction[]): string {
  const named = functions.slice(0, NAMED).map(({ name, callsPerSecond }) => {
    return `${name} (${Math.round(callsPerSecond).toLocaleString('en')} calls a second)`;
  });
  const others = functions.length - named.length;
  return `${named.join(', ')}${others > 0 ? ` and ${plural(others, 'other')}` : ''}`;
}
