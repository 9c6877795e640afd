import {
  type FunctionTable,
  InstructionKind,
  type Module,
  type Parameter,
} from '../native/native.js';
import { ContextPlace } from '../spans/records.generated.js';
import { goLayout } from './go-layout.js';
import { addressesOf, goSupport } from './go-support.js';
import { NO_VALUES, ValuePlanner, valueNotices, type ValueRequest } from './function-values.js';
import { groupByFunction } from './instructions.js';
import type { ContextAt, ModulePlan, PlannedFunction, Refusal } from './plan.js';
import { type FunctionCode, goEntry, returnSites } from './sites.js';

const NOWHERE: ContextAt = { place: ContextPlace.NOWHERE, at: 0 };

/** Plans the probes of a Go program for the functions at `indexes` of its table. */
export async function planGo(
  module: Module,
  table: FunctionTable,
  indexes: readonly number[],
  entryOnly: boolean,
  wanted: ValueRequest | null,
): Promise<ModulePlan> {
  const layout = await goLayout(module);
  const { sites: support, notices } = await goSupport(module, table, layout.spanTypes);
  const names = table.names.split('\n');
  const candidates = oneBodyEach(names, table, indexes);
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
    const name = names[index] ?? '';
    const body: FunctionCode = {
      address: addresses[i] ?? 0,
      size: sizes[i] ?? 0,
      instructions: code[i] ?? [],
    };
    const planned = planFunction(name, body, entryOnly);
    if ('reason' in planned) {
      refused.push({ name, reason: planned.reason });
      continue;
    }
    const position = lines[i];
    const known = parameters[i];
    functions.push({
      ...planned,
      context: known ? contextOf(known) : contextWithin(body, morestack, argumentBytes[i] ?? null),
      file: position?.file ?? null,
      line: position?.line ?? null,
      values: (await planner?.plan(name, known ?? null)) ?? NO_VALUES,
    });
  }
  if (planner && wanted) notices.push(...valueNotices(planner, wanted));
  return { module, layout, functions, refused, support, notices };
}

function planFunction(
  name: string,
  code: FunctionCode,
  entryOnly: boolean,
): Pick<PlannedFunction, 'name' | 'address' | 'size' | 'entry' | 'returns'> | { reason: string } {
  const entry = goEntry(code);
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
  names: readonly string[],
  table: FunctionTable,
  indexes: readonly number[],
): number[] {
  const byName = new Map<string, number[]>();
  for (const index of indexes) {
    if ((table.sizes[index] ?? 0) === 0) continue;
    const name = (names[index] ?? '').replace(/\.abi0$/, '');
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

/**
 * Where neither DWARF nor the type tables know the arguments: the function itself says which
 * registers it is called with, since it saves those that it uses before its stack grows; and
 * pclntab says how many words there are, with those that it does not use.
 */
export function contextWithin(
  code: FunctionCode,
  morestack: ReadonlySet<number>,
  argumentBytes: number | null,
): ContextAt {
  const grows = code.instructions.find(
    ({ kind, target }) => kind === InstructionKind.CALL && morestack.has(target),
  );
  const words = Math.min(Math.floor((argumentBytes ?? 0) / 8), REGISTER_WORDS);
  const pairs = words > 1 ? 2 ** (words - 1) - 1 : 0;
  const at = (grows?.spilled ?? 0) | pairs;
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
