import { FunctionKind, type FunctionTable, type Module } from '../native/native.js';
import { ContextPlace, SiteKind } from '../spans/records.generated.js';
import { forEachName, namesAt, ownCopy } from '../symbols/joined-names.js';
import type { HostCosts } from './host-costs.js';
import { NO_VALUES, type ValueRequest } from './function-values.js';
import type { ModulePlan, PlannedFunction, Refusal, SupportSite } from './plan.js';
import { type FunctionRanges, rangesOf, readCode } from './native-code.js';
import {
  ALL_ARGUMENTS,
  nativeEntry,
  nativeReturns,
  NO_ARGUMENTS,
  trampolineEntry,
} from './native-sites.js';
import { nativeValues } from './native-values.js';
import type { EntryNeeds, FunctionCode } from './sites.js';
import { takesTrampoline, type Trampolines } from './trampolines.js';

const NOWHERE = { place: ContextPlace.NOWHERE, at: 0 };

/** What changes or leaves a thread's stack, or tells of libraries, by symbol; `at`: argument word. */
const SUPPORT: Record<string, { kind: number; at: number }> = {
  swapcontext: { kind: SiteKind.SWITCH_STACK, at: 1 },
  setcontext: { kind: SiteKind.SWITCH_STACK, at: 0 },
  // The Itanium C++ ABI: the handler's first act. Its frame is the innermost that is left.
  __cxa_begin_catch: { kind: SiteKind.CATCH, at: 0 },
  // Rust: where catch_unwind takes the panic; in a namespace of its own since 1.87.
  __rust_panic_cleanup: { kind: SiteKind.CATCH, at: 0 },
  '__rustc::__rust_panic_cleanup': { kind: SiteKind.CATCH, at: 0 },
  // glibc and musl; what is compiled with _FORTIFY_SOURCE calls the last.
  longjmp: { kind: SiteKind.LONG_JUMP, at: 0 },
  _longjmp: { kind: SiteKind.LONG_JUMP, at: 0 },
  siglongjmp: { kind: SiteKind.LONG_JUMP, at: 0 },
  __longjmp_chk: { kind: SiteKind.LONG_JUMP, at: 0 },
  // Called whenever the list of libraries has changed: the debugger interface of glibc and musl.
  _dl_debug_state: { kind: SiteKind.LIBRARIES, at: 0 },
};

/** The symbol is that of the function that chooses. */
const CHOSEN_LATER = {
  reason: 'is chosen among several when the program starts (IFUNC): trace the one that is meant',
};

/** Plans the probes of a native module for the functions at `indexes` of its table. */
export async function planNative(
  module: Module,
  table: FunctionTable,
  indexes: readonly number[],
  {
    entryOnly,
    trampolines,
    values: wanted,
    costs,
  }: {
    entryOnly: boolean;
    trampolines: Trampolines;
    values: ValueRequest | null;
    costs: HostCosts;
  },
): Promise<ModulePlan> {
  const names = namesAt(table.names, indexes);
  const ranges = rangesOf(table);
  const candidates = oneNameEach(table, indexes);
  const addresses = Float64Array.from(candidates, (index) => table.addresses[index] ?? 0);
  const called = candidates.map((index) => names.get(index) ?? '');
  const [code, lines, read] = await Promise.all([
    readCode(module, candidates.map(ranges)),
    module.lines(addresses),
    // Of a library in which only stacks are followed the DWARF is not read.
    wanted && !entryOnly && candidates.length > 0
      ? nativeValues(module, wanted, called, addresses)
      : null,
  ]);
  const functions: PlannedFunction[] = [];
  const refused: Refusal[] = [];
  for (const [i, index] of candidates.entries()) {
    const name = names.get(index) ?? '';
    const body = code[i] as FunctionCode;
    const planned =
      table.kinds[index] === FunctionKind.IFUNC
        ? CHOSEN_LATER
        : planFunction(name, body, {
            entryOnly,
            trampolines,
            costs,
            // Arguments are read at the entry, results at the return.
            needs:
              (read?.values[i] ?? NO_VALUES).arguments.length > 0 ? ALL_ARGUMENTS : NO_ARGUMENTS,
          });
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
      values: read?.values[i] ?? NO_VALUES,
      route: null,
    });
  }
  const support = await nativeSupport(module, table, ranges, costs);
  return {
    kind: 'native',
    module,
    layout: null,
    functions,
    refused,
    support,
    notices: read?.notices ?? [],
    claimed: read?.claimed ?? new Set(),
  };
}

type Planned = Pick<PlannedFunction, 'entry' | 'returns' | 'entryOnly' | 'single' | 'trampoline'>;

interface FunctionWishes {
  entryOnly: boolean;
  trampolines: Trampolines;
  costs: HostCosts;
  needs: EntryNeeds;
}

function planFunction(
  name: string,
  code: FunctionCode,
  { entryOnly, trampolines, costs, needs }: FunctionWishes,
): Planned | { reason: string } {
  const entry = nativeEntry(code, costs, needs);
  if ('reason' in entry) return entry;
  const planned: Planned = {
    entry: entry.sites,
    returns: [],
    entryOnly: null,
    single: false,
    trampoline: false,
  };
  if (entryOnly) return planned;
  const found = nativeReturns(code);
  if ('reason' in found) return found;
  const exits = 'sites' in found ? found.sites : [];
  const returns = exits.filter(({ address }) => address !== entry.sites.address);
  const single = returns.length < exits.length;
  const why = 'entryOnly' in found ? found.entryOnly : null;
  if (takesTrampoline(trampolines, { name, entryOnly: why, single })) {
    const top = trampolineEntry(code, costs, needs);
    if ('sites' in top) return { ...planned, entry: top.sites, trampoline: true };
  }
  return { ...planned, returns, entryOnly: why, single };
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

async function nativeSupport(
  module: Module,
  table: FunctionTable,
  ranges: (index: number) => FunctionRanges,
  costs: HostCosts,
): Promise<SupportSite[]> {
  const wanted = new Map<number, { name: string; index: number }>();
  forEachName(table.names, (name, index) => {
    if (!Object.hasOwn(SUPPORT, name)) return;
    wanted.set(table.addresses[index] ?? 0, { name: ownCopy(name), index });
  });
  if (wanted.size === 0) return [];
  const found = [...wanted.values()];
  const code = await readCode(
    module,
    found.map(({ index }) => ranges(index)),
  );
  return found.flatMap(({ name }, i) => {
    const { kind, at } = SUPPORT[name] as { kind: number; at: number };
    const entry = nativeEntry(code[i] as FunctionCode, costs);
    return 'sites' in entry ? [{ ...entry.sites, kind, at, name }] : [];
  });
}
