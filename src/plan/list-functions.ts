import type { FunctionTable, Module, Native } from '../native/native.js';
import { withoutGenerated } from '../symbols/generated.js';
import { matchAll, type Pattern } from '../symbols/patterns.js';
import { debugRoots } from './debug-roots.js';
import { planGo } from './go-plan.js';
import { ASSUMED_COSTS } from './host-costs.js';
import { moduleError } from './module-errors.js';
import { planNative } from './native-plan.js';
import type { ModulePlan, Refusal } from './plan.js';

/** A function that is there, or was before the compiler inlined it. */
export interface ListedFunction {
  name: string;
  /** As a signed number of 64 bits; null: inlined everywhere, and without code of its own. */
  address: number | null;
  /** In bytes; 0 where it is not known, as in the kernel. */
  size: number;
  file: string | null;
  line: number | null;
  /** Probes that it takes; 0 where it cannot be traced. */
  sites: number;
  /** Why it cannot be traced; null: it can. */
  reason: string | null;
}

export interface FunctionList {
  /** The executable, as its process sees it, or "the kernel". */
  file: string;
  functions: ListedFunction[];
  /** Those that match `patterns[i]`, inlined ones too. */
  counts: number[];
  /** All names there are, joined by line breaks, for suggestions. */
  names: string;
}

/** What of an executable could be traced, and what not and why. */
export async function listFunctions(
  native: Native,
  file: string,
  shownAs: string,
  patterns: readonly Pattern[],
): Promise<FunctionList> {
  let module: Module;
  try {
    module = await native.openModule(file, debugRoots(file));
  } catch (error) {
    throw moduleError(error, shownAs);
  }
  try {
    const table = await module.functions();
    const found = withoutGenerated(matchAll(patterns, [], table), patterns);
    const inlined = (await module.inlined()).filter(({ hasCode }) => !hasCode);
    const gone = matchAll(patterns, [], inlined.map(({ name }) => name).join('\n'));
    const plan = module.facts.go
      ? await planGo(module, table, found.indexes, LISTED)
      : await planNative(module, table, found.indexes, LISTED);
    const functions = listPlanned(plan, table, found.indexes);
    for (const index of gone.indexes) {
      const { name, into } = inlined[index] as (typeof inlined)[number];
      functions.push({ ...withoutCode(name), reason: `was inlined into ${into.join(', ')}` });
    }
    return {
      file: shownAs,
      functions,
      counts: found.counts.map((count, index) => count + (gone.counts[index] ?? 0)),
      names: table.names,
    };
  } catch (error) {
    throw moduleError(error, shownAs);
  } finally {
    module.close();
  }
}

const LISTED = {
  entryOnly: false,
  trampolines: 'never',
  waits: false,
  gc: false,
  allocations: false,
  values: null,
  costs: ASSUMED_COSTS,
  routeOf: () => null,
} as const;

function listPlanned(
  plan: ModulePlan,
  table: FunctionTable,
  indexes: readonly number[],
): ListedFunction[] {
  const traceable = plan.functions.map(({ name, address, size, file, line, returns }) => ({
    name,
    address,
    size,
    file,
    line,
    sites: 1 + returns.length,
    reason: null,
  }));
  const taken = new Set(traceable.map(({ address }) => address));
  const rest = indexes.filter((index) => !taken.has(table.addresses[index] ?? 0));
  const refused = listByName(table, rest, plan.refused);
  return [...traceable, ...refused].sort((a, b) => a.address - b.address);
}

function listByName(
  table: FunctionTable,
  indexes: readonly number[],
  refused: readonly Refusal[],
): (ListedFunction & { address: number })[] {
  const names = table.names.split('\n');
  // Twins share a name, and the larger is the function; so do instances of a generic function, of
  // which each refusal takes the next.
  const largestFirst = [...indexes].sort((a, b) => (table.sizes[b] ?? 0) - (table.sizes[a] ?? 0));
  const byName = new Map<string, number[]>();
  for (const index of largestFirst) {
    const name = names[index] ?? '';
    byName.set(name, [...(byName.get(name) ?? []), index]);
  }
  return refused.map(({ name, reason }) => {
    const index = byName.get(name)?.shift() ?? -1;
    const address = table.addresses[index] ?? 0;
    return { ...withoutCode(name), address, size: table.sizes[index] ?? 0, reason };
  });
}

const withoutCode = (name: string): ListedFunction => ({
  name,
  address: null,
  size: 0,
  file: null,
  line: null,
  sites: 0,
  reason: null,
});
