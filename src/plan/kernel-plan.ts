/** Which functions of the kernel are probed, and how. */
import { UnderspanError } from '../errors.js';
import type { Notice } from '../sinks/sink.js';
import type { Features, Module, Native } from '../native/native.js';
import { ContextPlace, SiteCondition } from '../spans/records.generated.js';
import { matchAll, type Matches } from '../symbols/patterns.js';
import { hintFor } from '../symbols/suggest.js';
import { type KernelFunctions, readKernelFunctions } from './kernel-functions.js';
import { addKernelValues } from './kernel-values.js';
import type { PlanRequest } from './plan-module.js';
import type { FunctionValues, ModulePlan, PlannedFunction, Refusal } from './plan.js';

/**
 * multi: one link for all. trampoline: fentry and fexit, programs of its own for each function.
 * single: a kprobe and a return probe for each, which miss returns where more calls are in progress
 * than the kernel has room for.
 */
export type KernelWay = 'multi' | 'trampoline' | 'single';

/** Loading programs for a function takes some 20 ms. */
const MOST_TRAMPOLINES = 32;
/** Attaching a kprobe takes milliseconds, and detaching it tens of them. */
const MOST_SINGLE = 200;

export function kernelWay(features: Features, functions: number): KernelWay {
  if (features.kprobeMulti) return 'multi';
  if (features.fentry && (functions <= MOST_TRAMPOLINES || !features.kprobes)) return 'trampoline';
  return 'single';
}

/** All processes of the host run through these probes. */
const MOST_MULTI = 1_000;

const MOST: Record<KernelWay, number> = {
  multi: MOST_MULTI,
  trampoline: MOST_TRAMPOLINES,
  single: MOST_SINGLE,
};

const ONE_BY_ONE = 'that can be attached one by one in reasonable time, as this kernel does';
const WHY: Record<KernelWay, string> = {
  multi: 'that may carry probes: whatever runs on this host pays for them',
  trampoline: ONE_BY_ONE,
  single: ONE_BY_ONE,
};

/** The kernel is no file: nothing can be asked about it here. */
const KERNEL: Module = {
  facts: {
    path: 'kernel',
    stamp: '',
    buildId: null,
    positionIndependent: false,
    hasSymbols: true,
    hasDwarf: false,
    segments: [],
    interpreter: null,
    tls: null,
    go: null,
  },
  lines: (addresses: Float64Array) => Promise.resolve(Array.from(addresses, () => null)),
  typeNames: (addresses: Float64Array) => Promise.resolve(Array.from(addresses, () => null)),
  close: () => undefined,
} as Partial<Module> as Module;

const NO_VALUES: FunctionValues = { arguments: [], results: [], error: null, stackTrace: false };

/** Throws an UnderspanError if nothing can be traced that the patterns ask for. */
export async function planKernel(
  native: Pick<Native, 'kernelValues'>,
  features: Features,
  request: PlanRequest,
  functions: KernelFunctions = needFunctions(features),
): Promise<ModulePlan> {
  const { patterns, excludes, maxFunctions, entryOnly } = request;
  const found = matching(functions.names, patterns, excludes);
  const notices: Notice[] = patterns
    .filter((_, index) => found.counts[index] === 0)
    .map((pattern) => ({
      code: 'NO_FUNCTION_MATCHES',
      message: `no function of the kernel matches '${pattern.text}'`,
      hint: hintFor(pattern, functions.names.join('\n')),
      pattern: pattern.text,
    }));
  const [first] = notices;
  if (first && found.indexes.length === 0) {
    const { code, message, hint, pattern } = first;
    throw new UnderspanError('not-found', code, message, hint, pattern ? { pattern } : {});
  }
  const indexes = oneNameEach(functions, found.indexes);
  const way = kernelWay(features, indexes.length);
  const planned: PlannedFunction[] = [];
  const refused: Refusal[] = [];
  for (const index of indexes) {
    const name = functions.names[index] as string;
    const reason = refusal(functions, name, way);
    if (reason !== null) refused.push({ name, reason });
    else planned.push(plan(name, functions.addresses[index] as number, entryOnly));
  }
  requireRoom(planned.length, maxFunctions, way);
  const [refusedFirst] = refused;
  if (planned.length === 0 && refusedFirst) {
    throw new UnderspanError(
      'unsupported',
      'NOTHING_TRACEABLE',
      `none of the ${refused.length} functions of the kernel that match can be traced: ${refusedFirst.name} ${refusedFirst.reason}`,
      "name a function that calls it, or that it calls: 'trace symbols' lists them",
    );
  }
  notices.push(...refusedByName(refused, patterns));
  const symbols = planned.map(({ name }) => symbolOf(name));
  const values = await addKernelValues(native, planned, symbols, request.values);
  return {
    kind: 'kernel',
    module: KERNEL,
    layout: null,
    functions: planned,
    refused,
    support: [],
    notices: [...notices, ...values.notices],
    claimed: values.claimed,
  };
}

/** Names that are written out are looked up; to match a hundred thousand is not needed for them. */
export function matching(
  names: readonly string[],
  patterns: PlanRequest['patterns'],
  excludes: PlanRequest['excludes'],
): Pick<Matches, 'indexes' | 'counts'> {
  const exact = new Set(patterns.map(({ name }) => name));
  const wild = patterns.some((pattern) => pattern.wild);
  const candidates = [...names.keys()].filter((index) => wild || exact.has(names[index] ?? ''));
  const joined = candidates.map((index) => names[index]).join('\n');
  const { indexes, counts } = matchAll(patterns, excludes, joined);
  return { indexes: indexes.map((index) => candidates[index] ?? 0), counts };
}

export const isSupported = ({ kprobes, kprobeMulti, fentry }: Features): boolean =>
  kprobes || kprobeMulti || fentry;

function needFunctions(features: Features): KernelFunctions {
  if (isSupported(features)) return readKernelFunctions();
  throw new UnderspanError(
    'unsupported',
    'KERNEL_FUNCTIONS_UNSUPPORTED',
    `functions of the kernel cannot be traced here: it ${NO_WAY}`,
    "it must be built with CONFIG_KPROBE_EVENTS, or CONFIG_FUNCTION_TRACER; leave out the patterns that begin with 'kernel:'",
  );
}

export const NO_WAY = 'has neither kprobes nor kprobe.multi, and refuses fentry';

function requireRoom(count: number, maxFunctions: number, way: KernelWay): void {
  const most = Math.min(maxFunctions, MOST[way]);
  if (count <= most) return;
  const why = most === maxFunctions ? 'that are allowed at once' : WHY[way];
  const raise =
    count <= MOST[way]
      ? `, or raise the limit with --max-functions ${count} (limits.functions)`
      : '';
  throw new UnderspanError(
    'usage',
    'TOO_MANY_FUNCTIONS',
    `${count.toLocaleString('en')} functions of the kernel match, more than the ${most.toLocaleString('en')} ${why}`,
    `narrow the patterns or --exclude some${raise}`,
  );
}

/** Functions that a pattern names, and that cannot be traced, beside others that can. */
function refusedByName(refused: readonly Refusal[], patterns: PlanRequest['patterns']): Notice[] {
  const named = new Set(patterns.filter(({ wild }) => !wild).map(({ name }) => name));
  return refused
    .filter(({ name }) => named.has(name))
    .map(({ name, reason }) => ({
      code: 'FUNCTION_NOT_TRACED',
      message: `kernel:${name} is not traced: it ${reason}`,
      hint: "'trace symbols' lists what can be",
    }));
}

/** Why a function cannot be traced, or null. */
export function refusal(
  { hooked, forbidden }: KernelFunctions,
  name: string,
  way: KernelWay,
): string | null {
  if (forbidden.has(name)) return 'must not carry a probe (it is on the list of the kernel)';
  // BTF knows functions by their name in the source, and not which copy of it is meant.
  if (way === 'trampoline' && name.includes('.')) return 'is a copy that the compiler has made';
  if (way !== 'single' && hooked && !hooked.has(name)) return 'is left out of function tracing';
  return null;
}

/** Its name without the module's. */
export const symbolOf = (name: string): string => name.slice(name.indexOf(':') + 1);

const plan = (name: string, address: number, entryOnly: boolean): PlannedFunction => {
  const site = { address, condition: SiteCondition.ALWAYS, emulated: false, inKernel: true };
  return {
    name: `kernel:${name}`,
    address,
    size: 0,
    entry: site,
    returns: entryOnly ? [] : [site],
    entryOnly: null,
    trampoline: false,
    single: false,
    context: { place: ContextPlace.NOWHERE, at: 0 },
    file: null,
    line: null,
    values: NO_VALUES,
    route: null,
  };
};

/** Aliases share an address, and one of them is traced. */
export function oneNameEach({ addresses }: KernelFunctions, indexes: readonly number[]): number[] {
  const byAddress = new Map(indexes.toReversed().map((index) => [addresses[index], index]));
  return [...byAddress.values()].sort((a, b) => a - b);
}
