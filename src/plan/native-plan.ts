import type { FunctionTable, Module } from '../native/native.js';
import { ContextPlace, SiteKind } from '../spans/records.generated.js';
import type { FunctionValues, ModulePlan, PlannedFunction, Refusal, SupportSite } from './plan.js';
import { groupByFunction } from './instructions.js';
import { type FunctionCode, nativeEntry, nativeReturns } from './native-sites.js';

const NOWHERE = { place: ContextPlace.NOWHERE, at: 0 };
const NO_VALUES: FunctionValues = { arguments: [], results: [], error: null, stackTrace: false };

/** What changes a thread's stack, or tells of libraries, by symbol; `at`: argument word. */
const SUPPORT: Record<string, { kind: number; at: number }> = {
  swapcontext: { kind: SiteKind.SWITCH_STACK, at: 1 },
  setcontext: { kind: SiteKind.SWITCH_STACK, at: 0 },
  // The Itanium C++ ABI: the handler's first act. Its frame is the innermost that is left.
  __cxa_begin_catch: { kind: SiteKind.CATCH, at: 0 },
  // Rust: where catch_unwind takes the panic.
  __rust_panic_cleanup: { kind: SiteKind.CATCH, at: 0 },
  // Called whenever the list of libraries has changed: the debugger interface of glibc and musl.
  _dl_debug_state: { kind: SiteKind.LIBRARIES, at: 0 },
};

/** Plans the probes of a native module for the functions at `indexes` of its table. */
export async function planNative(
  module: Module,
  table: FunctionTable,
  indexes: readonly number[],
  { entryOnly }: { entryOnly: boolean },
): Promise<ModulePlan> {
  const names = table.names.split('\n');
  const candidates = oneNameEach(table, indexes);
  const addresses = Float64Array.from(candidates, (index) => table.addresses[index] ?? 0);
  const sizes = Float64Array.from(candidates, (index) => table.sizes[index] ?? 0);
  const [records, lines] = await Promise.all([
    module.instructions(addresses, sizes),
    module.lines(addresses),
  ]);
  const code = groupByFunction(records, candidates.length);
  const functions: PlannedFunction[] = [];
  const refused: Refusal[] = [];
  for (const [i, index] of candidates.entries()) {
    const name = names[index] ?? '';
    const body: FunctionCode = {
      address: addresses[i] ?? 0,
      size: sizes[i] ?? 0,
      instructions: code[i] ?? [],
    };
    const planned = planFunction(body, entryOnly);
    if ('reason' in planned) {
      refused.push({ name, reason: planned.reason });
      continue;
    }
    functions.push({
      name,
      address: body.address,
      size: body.size,
      ...planned,
      context: NOWHERE,
      file: lines[i]?.file ?? null,
      line: lines[i]?.line ?? null,
      values: NO_VALUES,
      route: null,
    });
  }
  const support = await nativeSupport(module, table);
  return { kind: 'native', module, layout: null, functions, refused, support, notices: [] };
}

type Planned = Pick<PlannedFunction, 'entry' | 'returns' | 'entryOnly'>;

function planFunction(code: FunctionCode, entryOnly: boolean): Planned | { reason: string } {
  const entry = nativeEntry(code);
  if ('reason' in entry) return entry;
  if (entryOnly) return { entry: entry.sites, returns: [], entryOnly: null };
  const returns = nativeReturns(code);
  if ('reason' in returns) return returns;
  if ('entryOnly' in returns) {
    return { entry: entry.sites, returns: [], entryOnly: returns.entryOnly };
  }
  return { entry: entry.sites, returns: returns.sites, entryOnly: null };
}

/** Aliases share an address, and one of them is traced. */
function oneNameEach(table: FunctionTable, indexes: readonly number[]): number[] {
  const byAddress = new Map<number, number>();
  for (const index of indexes) {
    const address = table.addresses[index] ?? 0;
    if (!byAddress.has(address)) byAddress.set(address, index);
  }
  return [...byAddress.values()];
}

async function nativeSupport(module: Module, table: FunctionTable): Promise<SupportSite[]> {
  const wanted = new Map<number, { name: string; size: number }>();
  table.names.split('\n').forEach((name, index) => {
    if (!Object.hasOwn(SUPPORT, name)) return;
    wanted.set(table.addresses[index] ?? 0, { name, size: table.sizes[index] ?? 0 });
  });
  if (wanted.size === 0) return [];
  const addresses = Float64Array.from(wanted.keys());
  const sizes = Float64Array.from(wanted.values(), ({ size }) => size);
  const code = groupByFunction(await module.instructions(addresses, sizes), wanted.size);
  return [...wanted].flatMap(([address, { name, size }], index) => {
    const { kind, at } = SUPPORT[name] as { kind: number; at: number };
    const entry = nativeEntry({ address, size, instructions: code[index] ?? [] });
    return 'sites' in entry ? [{ ...entry.sites, kind, at, name }] : [];
  });
}
