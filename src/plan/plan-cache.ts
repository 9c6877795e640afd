/** Plans of Go programs that were made before: of a large one most of a second is for its DWARF. */
import { createHash } from 'node:crypto';
import { BootCache } from '../native/boot-cache.js';
import { giveMemoryBackSoon } from '../native/memory.js';
import { ownStamp } from '../native/own-stamp.js';
import type { Module } from '../native/native.js';
import type { Pattern } from '../symbols/patterns.js';
import type { PlanRequest } from './plan-module.js';
import type { ModulePlan } from './plan.js';

const PREFIX = 'plan-';
const MOST = 8;
/** What is planned in less is not worth a file. */
const WORTH_MS = 100;

/**
 * The plan for this request, from the cache or by `plan`, and then kept if it took long. C, C++ and
 * Rust are left out: what is planned there depends on files beside the module too.
 */
export async function planOnce(
  module: Module,
  shownAs: string,
  request: PlanRequest,
  plan: () => Promise<ModulePlan>,
  cache = new BootCache(),
  worthMs = WORTH_MS,
): Promise<ModulePlan> {
  const { go, stamp } = module.facts;
  if (!go) return plan();
  const circumstances = { stamp, shownAs, request: written(request), made: ownStamp() };
  const digest = createHash('sha256').update(JSON.stringify(circumstances)).digest('hex');
  const name = `${PREFIX}${digest.slice(0, 32)}`;
  const known = cache.read(name, circumstances) as StoredPlan | null;
  if (known) {
    const functions = known.functions.map(withNumbers);
    return { ...known, functions, claimed: new Set(known.claimed), module };
  }
  const begin = performance.now();
  const made = await plan();
  if (performance.now() - begin >= worthMs) {
    cache.write(name, circumstances, stored(made));
    cache.prune(PREFIX, MOST);
    giveMemoryBackSoon();
  }
  return made;
}

type Function = ModulePlan['functions'][number];
type StoredPlan = Omit<ModulePlan, 'module' | 'claimed'> & { claimed: string[] };

/** JSON has no sets, and no numbers of 64 bits; of a Go program these alone are some. */
function stored(plan: ModulePlan): unknown {
  const functions = plan.functions.map((each) => {
    const { error } = each.values;
    if (!error) return each;
    return { ...each, values: { ...each.values, error: { ...error, value: String(error.value) } } };
  });
  return { ...plan, functions, claimed: [...plan.claimed], module: null };
}

function withNumbers(stored: Function): Function {
  const { error } = stored.values;
  if (!error) return stored;
  return {
    ...stored,
    values: { ...stored.values, error: { ...error, value: BigInt(error.value) } },
  };
}

/** All that the plan depends on; patterns as the user wrote them. */
function written({ patterns, excludes, handlers, costs, ...others }: PlanRequest): unknown {
  const texts = (each: readonly Pattern[]): string[] => each.map(({ text }) => text);
  return {
    ...others,
    // Whether they were measured just now is no matter.
    costs: { ...costs, source: null },
    patterns: texts(patterns),
    excludes: texts(excludes),
    handlers: handlers.map(({ pattern, route }) => [pattern.text, route]),
  };
}
