import {
  type FunctionTable,
  InstructionKind,
  type Module,
  type Parameter,
} from '../native/native.js';
import { ContextPlace, ValueKind, ValuePlace } from '../spans/records.generated.js';
import { namesAt } from '../symbols/joined-names.js';
import { goLayout } from './go-layout.js';
import { addressesOf, goSupport } from './go-support.js';
import { NO_VALUES, ValuePlanner, valueNotices, type ValueRequest } from './function-values.js';
import { groupByFunction } from './instructions.js';
import type { ContextAt, FunctionValues, ModulePlan, PlannedFunction, Refusal } from './plan.js';
import { type EntryNeeds, type FunctionCode, goEntry, goNeeds, returnSites } from './sites.js';

/** A goroutine's pprof labels are set by it alone; the linker leaves it out where nobody does. */
const SET_LABELS = 'runtime/pprof.runtime_setProfLabel';

const NOWHERE: ContextAt = { place: ContextPlace.NOWHERE, at: 0 };

export interface GoRequest {
  entryOnly: boolean;
  /** null: none. */
  values: ValueRequest | null;
  /** What calls wait for is looked at. */
  waits: boolean;
  /** What the garbage collector does is told. */
  gc: boolean;
  /** What calls allocate is looked at. */
  allocations: boolean;
  /** By name of a function that handles HTTP requests; null for others. */
  routeOf: (name: string) => string | null;
}

/** Plans the probes of a Go program for the functions at `indexes` of its table. */
export async function planGo(
  module: Module,
  table: FunctionTable,
  indexes: readonly number[],
  { entryOnly, values: wanted, waits, gc, allocations, routeOf }: GoRequest,
): Promise<ModulePlan> {
  const names = namesAt(table.names, indexes);
  const setsLabels = `\n${table.names}\n`.includes(`\n${SET_LABELS}\n`);
  const layout = await goLayout(module, setsLabels);
  const candidates = oneBodyEach(names, table, indexes);
  const handles = candidates.some((index) => routeOf(names.get(index) ?? '') !== null);
  const { sites: support, notices } = await goSupport(module, table, layout, {
    httpStatus: handles,
    waits,
    gc,
    allocations,
  });
  const addresses = Float64Array.from(candidates, (index) => table.addresses[index] ?? 0);
  const sizes = Float64Array.from(candidates, (index) => table.sizes[index] ?? 0);
  const [records, parameters, lines, argumentBytes] = await Promise.all([
    module.instructions(addresses, sizes),
    module.parameters(addresses),
    module.lines(addresses),
    module.argumentBytes(addresses),
  ]);
  const code = groupByFunction(records, candidates.length);
  const morestack = new Set([...addressesOf(table, MORESTACK).values()].flat());
  const functions: PlannedFunction[] = [];
  const refused: Refusal[] = [];
  const planner = wanted && !entryOnly ? new ValuePlanner(module, wanted) : null;
  for (const [i, index] of candidates.entries()) {
    const name = names.get(index) ?? '';
    const body: FunctionCode = {
      address: addresses[i] ?? 0,
      size: sizes[i] ?? 0,
      instructions: code[i] ?? [],
    };
    const known = parameters[i] ?? null;
    const saved = savedRegisters(body, morestack);
    const context = known ? contextOf(known) : contextWithin(saved.pairs, argumentBytes[i] ?? null);
    const values = (await planner?.plan(name, known)) ?? NO_VALUES;
    const wantedWords = wantedRegisters(context, values);
    const unsaved = (wantedWords & ~saved.registers) !== 0;
    const reads = context.place !== ContextPlace.NOWHERE || values.arguments.length > 0;
    const needs = goNeeds(wantedWords, reads);
    const planned = planFunction(name, body, entryOnly, unsaved, needs);
    if ('reason' in planned) {
      refused.push({ name, reason: planned.reason });
      continue;
    }
    const position = lines[i];
    functions.push({
      ...planned,
      single: false,
      entryOnly: null,
      trampoline: false,
      context,
      file: position?.file ?? null,
      line: position?.line ?? null,
      values,
      route: routeOf(name),
    });
  }
  if (planner) notices.push(...valueNotices(planner));
  const claimed = planner?.found ?? new Set<string>();
  return { kind: 'go', module, layout, functions, refused, support, notices, claimed };
}

function planFunction(
  name: string,
  code: FunctionCode,
  entryOnly: boolean,
  unsaved: boolean,
  needs: EntryNeeds,
): Pick<PlannedFunction, 'name' | 'address' | 'size' | 'entry' | 'returns'> | { reason: string } {
  const entry = goEntry(code, unsaved, needs);
  if ('reason' in entry) return entry;
  const returns = entryOnly ? { sites: [] } : returnSites(code);
  if ('reason' in returns) return returns;
  const { address, size } = code;
  return { name, address, size, entry: entry.sites, returns: returns.sites };
}

/**
 * A name may have two bodies, one for each calling convention: the larger is the function, the
 * smaller only passes arguments on. Instances of a generic function share a name too, and all
 * of them are wanted.
 */
function oneBodyEach(
  names: ReadonlyMap<number, string>,
  table: FunctionTable,
  indexes: readonly number[],
): number[] {
  const byName = new Map<string, number[]>();
  for (const index of indexes) {
    if ((table.sizes[index] ?? 0) === 0) continue;
    const name = names.get(index) ?? '';
    const same = byName.get(name);
    if (same) same.push(index);
    else byName.set(name, [index]);
  }
  const size = (index: number): number => table.sizes[index] ?? 0;
  return [...byName]
    .flatMap(([name, same]) =>
      name.includes('[') ? same : [same.reduce((a, b) => (size(b) > size(a) ? b : a))],
    )
    .sort((a, b) => a - b);
}

const MORESTACK = ['runtime.morestack', 'runtime.morestack_noctxt'];

/** Words that Go passes in integer registers. */
const REGISTER_WORDS = 9;

/** Integer registers of the ABI that a function saves before its stack grows: those that it uses. */
interface SavedRegisters {
  registers: number;
  /** Of those, bit n: n and n + 1 are saved side by side, as two words are. */
  pairs: number;
}

function savedRegisters(code: FunctionCode, morestack: ReadonlySet<number>): SavedRegisters {
  const grows = code.instructions.find(
    ({ kind, target }) => kind === InstructionKind.CALL && morestack.has(target),
  );
  // Where nothing grows all registers are as the caller left them.
  if (!grows) return { registers: -1, pairs: 0 };
  return { registers: grows.spilled >>> 16, pairs: grows.spilled & 0xffff };
}

/** A bit for each argument register that is read at the entry. */
function wantedRegisters({ place, at }: ContextAt, values: FunctionValues): number {
  let wanted = 0;
  if (place === ContextPlace.REGISTERS) wanted |= 0b11 << at;
  if (place === ContextPlace.REQUEST_REGISTER) wanted |= 1 << at;
  if (place === ContextPlace.SEARCH) wanted |= at | (at << 1);
  for (const { plan } of values.arguments) {
    if (plan.place !== ValuePlace.REGISTERS || plan.kind === ValueKind.HIDDEN) continue;
    const words = plan.path.length > 0 ? 1 : (WORDS[plan.kind] ?? Math.ceil(plan.size / 8));
    wanted |= ((1 << words) - 1) << plan.at;
  }
  return wanted & ((1 << REGISTER_WORDS) - 1);
}

/** Words that are read of a value in registers; of a plain one as many as it has. */
const WORDS: Record<number, number> = {
  [ValueKind.STRING]: 2,
  [ValueKind.SLICE]: 2,
  [ValueKind.MAP]: 1,
  [ValueKind.INTERFACE]: 2,
};

/**
 * Where neither DWARF nor the type tables know the arguments: the function itself says which
 * registers it is called with, since it saves those that it uses before its stack grows; and
 * pclntab says how many words there are, with those that it does not use.
 */
export function contextWithin(pairs: number, argumentBytes: number | null): ContextAt {
  const words = Math.min(Math.floor((argumentBytes ?? 0) / 8), REGISTER_WORDS);
  const at = pairs | (words > 1 ? 2 ** (words - 1) - 1 : 0);
  return at === 0 ? NOWHERE : { place: ContextPlace.SEARCH, at };
}

/** The first context.Context among the arguments, else the first *http.Request. */
export function contextOf(parameters: readonly Parameter[]): ContextAt {
  const inputs = parameters.filter(({ result }) => !result);
  const context = inputs.find(({ type }) => type === 'context.Context');
  const request = inputs.find(({ type }) => type === '*net/http.Request');
  if (context) return placeOf(context, ContextPlace.REGISTERS, ContextPlace.STACK);
  if (request) {
    return placeOf(request, ContextPlace.REQUEST_REGISTER, ContextPlace.REQUEST_STACK);
  }
  return NOWHERE;
}

function placeOf(parameter: Parameter, inRegisters: number, onStack: number): ContextAt {
  const [word] = parameter.registers;
  if (word !== undefined) return { place: inRegisters, at: word };
  return parameter.stackOffset === null ? NOWHERE : { place: onStack, at: parameter.stackOffset };
}
