import { UnderspanError } from '../errors.js';
import type { FunctionTable, Module } from '../native/native.js';
import type { Notice } from '../sinks/sink.js';
import { SiteKind } from '../spans/records.generated.js';
import { forEachName } from '../symbols/joined-names.js';
import {
  ALLOCATOR,
  allocationSites,
  ASSISTS,
  assistSites,
  COLLECTOR,
  collectorSites,
  MEMORY_CALLEES,
} from './go-memory.js';
import { goMinor } from './go-versions.js';
import { groupByFunction } from './instructions.js';
import type { GoLayout, SupportSite } from './plan.js';
import {
  callSites,
  type Choice,
  type FunctionCode,
  goEntry,
  returnSites,
  type Site,
} from './sites.js';

const SDK_TRACE = 'go.opentelemetry.io/otel/sdk/trace';
const COPYSTACK = 'runtime.copystack';
const GOEXIT = 'runtime.goexit1';
const RECOVERY = 'runtime.recovery';
const PANIC = 'runtime.gopanic';
/** Runs on the goroutine that panics; other fatal errors end the process without it. */
const FATAL = 'runtime.fatalpanic';
/** The closure that a go statement runs on the system stack, and its last call but one. */
const GO_STATEMENT = 'runtime.newproc.func1';
/** Where the scheduler lets a goroutine wait, makes it ready, and lets it go on. */
const PARK = 'runtime.gopark';
const CHANGE = 'runtime.casgstatus';
/** Where a goroutine stops so that the collector can look at its stack: it does not say so by CHANGE. */
const PREEMPT = 'runtime.preemptPark';
const STOPPED = 'runtime.casfrom_Gscanstatus';
/** A goroutine lets a coroutine run, or that one it, past the scheduler, or one ends; from Go 1.23 on. */
const SWITCH = 'runtime.coroswitch_m';
const GOGO = 'runtime.gogo';
const DESTROY = 'runtime.gdestroy';
const SCHEDULE: readonly { function: string; kind: number }[] = [
  { function: 'runtime.ready', kind: SiteKind.READY },
  // What the network poller has found.
  { function: 'runtime.injectglist', kind: SiteKind.READY },
  { function: 'runtime.findRunnable', kind: SiteKind.READY },
  // Its name up to Go 1.18.
  { function: 'runtime.findrunnable', kind: SiteKind.READY },
  { function: 'runtime.goschedImpl', kind: SiteKind.YIELD },
  // Who hands a lock over goes on after whoever waited for it.
  { function: 'runtime.goyield_m', kind: SiteKind.YIELD },
  { function: 'runtime.exitsyscall0', kind: SiteKind.YIELD },
  // Its name from Go 1.26 on.
  { function: 'runtime.exitsyscallNoP', kind: SiteKind.YIELD },
  { function: 'runtime.execute', kind: SiteKind.RUN },
];
const START = `${SDK_TRACE}.(*tracer).Start`;
/** `.End` of the types in a context, by the type that the receiver points to. */
const ENDS = [
  { function: `${SDK_TRACE}.(*recordingSpan).End`, type: `${SDK_TRACE}.recordingSpan` },
  { function: `${SDK_TRACE}.(*nonRecordingSpan).End`, type: `${SDK_TRACE}.nonRecordingSpan` },
];
/** By which an HTTP handler, or what writes for it, says the status. */
const STATUS = [
  'net/http.(*response).WriteHeader',
  // Into whose wrappers WriteHeader itself is inlined.
  'net/http.(*http2responseWriterState).writeHeader',
  // From Go 1.27 on HTTP/2 is a package of its own.
  'net/http/internal/http2.(*responseWriterState).writeHeader',
  // What a handler beneath http.TimeoutHandler writes to, on a goroutine of its own.
  'net/http.(*timeoutWriter).WriteHeader',
];
const WITH_VALUE = 'context.WithValue';
const WITH_SPAN = 'go.opentelemetry.io/otel/trace.ContextWithSpan';

/** Addresses of functions by name, those of a name's assembly twin included. */
export function addressesOf(table: FunctionTable, names: readonly string[]): Map<string, number[]> {
  const found = new Map(names.map((name): [string, number[]] => [name, []]));
  forEachName(table.names, (name, index) => {
    found.get(name)?.push(table.addresses[index] ?? 0);
  });
  return found;
}

/** What is looked at besides calls. */
export interface SupportWishes {
  /** The status of HTTP requests. */
  httpStatus: boolean;
  /** What calls wait for. */
  waits: boolean;
  /** What the garbage collector does. */
  gc: boolean;
  /** What calls allocate. */
  allocations: boolean;
}

/**
 * The sites in the runtime and in the SDK that keep the kernel's table of open calls true. Where
 * one of the runtime's cannot be confirmed nothing is attached; without the SDK's there are
 * no program spans to find.
 */
export async function goSupport(
  module: Module,
  table: FunctionTable,
  { spanTypes, version }: Pick<GoLayout, 'spanTypes' | 'version'>,
  { httpStatus, waits, gc, allocations }: SupportWishes,
): Promise<{ sites: SupportSite[]; notices: Notice[] }> {
  const inside = [
    COPYSTACK,
    GOEXIT,
    SWITCH,
    RECOVERY,
    PANIC,
    FATAL,
    GO_STATEMENT,
    START,
    ...ENDS.map((end) => end.function),
    ...(httpStatus ? STATUS : []),
    ...(waits ? [PARK, PREEMPT, ...SCHEDULE.map((each) => each.function), ...ASSISTS] : []),
    ...(gc ? COLLECTOR : []),
    ...(allocations ? ALLOCATOR : []),
  ];
  const callees = [
    ...[CHANGE, STOPPED, GOGO, DESTROY, 'runtime.runqput', WITH_VALUE, WITH_SPAN],
    ...MEMORY_CALLEES,
  ];
  const addresses = addressesOf(table, [...inside, ...callees]);
  const code = await codeOf(module, table, inside, addresses);
  const calleesOf = (...names: string[]): Set<number> =>
    new Set(names.flatMap((name) => addresses.get(name) ?? []));
  const sites: SupportSite[] = [];
  const notices: Notice[] = [];
  const add = (name: string, kind: number, found: Site[], at = 0): void => {
    for (const site of found) sites.push({ ...site, kind, at, name });
  };

  for (const [name, kind] of [
    [COPYSTACK, SiteKind.COPYSTACK],
    [GOEXIT, SiteKind.GOEXIT],
  ] as const) {
    add(name, kind, [needed(module, name, code.get(name), goEntry)]);
  }
  const coroutines = code.get(SWITCH);
  if (coroutines) add(SWITCH, SiteKind.COROUTINE_END, callSites(coroutines, calleesOf(DESTROY)));
  const recovery = code.get(RECOVERY);
  const recovered = recovery ? callSites(recovery, calleesOf(GOGO)) : [];
  if (recovered.length === 0) {
    notices.push({
      code: 'RECOVERY_NOT_FOUND',
      message: `${RECOVERY} has no call of runtime.gogo: calls that a recovered panic unwinds will be counted as unpaired`,
    });
  }
  add(RECOVERY, SiteKind.RECOVERY, recovered);
  const fatal = code.get(FATAL);
  const fatalEntry = fatal && goEntry(fatal);
  // Without it calls that a fatal panic ends are seen to end when the process does.
  if (fatalEntry && 'sites' in fatalEntry) add(FATAL, SiteKind.FATAL, [fatalEntry.sites]);
  const panic = code.get(PANIC);
  const panicked = panic ? goEntry(panic) : { reason: 'is not there' };
  if ('sites' in panicked) add(PANIC, SiteKind.PANIC, [panicked.sites]);

  for (const name of httpStatus ? STATUS : []) {
    const body = code.get(name);
    const entry = body && goEntry(body);
    if (entry && 'sites' in entry) add(name, SiteKind.HTTP_STATUS, [entry.sites]);
  }

  if (waits) {
    const found = scheduleSites(code, calleesOf);
    if ('reason' in found) notices.push(waitsUnknown(found.reason));
    else sites.push(...found.sites);
    // What is not seen of it runs, as far as can be told.
    const assists = assistSites(code);
    if ('sites' in assists && 'sites' in found) sites.push(...assists.sites);
  }
  if (gc) {
    const found = collectorSites(code, calleesOf);
    if ('sites' in found) sites.push(...found.sites);
    else {
      notices.push({
        code: 'COLLECTOR_NOT_FOUND',
        message: `what the garbage collector does cannot be told: ${found.reason}`,
      });
    }
  }
  if (allocations) {
    const found = allocationSites(code, calleesOf, goMinor(version) ?? 0);
    if ('sites' in found) sites.push(...found.sites);
    else {
      notices.push({
        code: 'ALLOCATIONS_NOT_FOUND',
        message: `what calls allocate cannot be told: ${found.reason}`,
      });
    }
  }

  const start = code.get(START);
  // Without an SDK there is nothing to inherit.
  if (!start) return { sites, notices };
  const statement = code.get(GO_STATEMENT);
  const started = statement ? callSites(statement, calleesOf('runtime.runqput')) : [];
  if (started.length === 0) {
    notices.push({
      code: 'GO_STATEMENT_NOT_FOUND',
      message: `${GO_STATEMENT} has no call of runtime.runqput: goroutines will not inherit the span that was current where they were started`,
    });
  }
  add(GO_STATEMENT, SiteKind.GO_STATEMENT, started);
  // A call is emulated by the kernel and a return is not, so the calls inside Start come first.
  const withValue = callSites(start, calleesOf(WITH_VALUE));
  const withSpan = callSites(start, calleesOf(WITH_SPAN));
  const returns = returnSites(start);
  if (withValue.length > 0) add(START, SiteKind.SPAN_START, withValue);
  else if (withSpan.length > 0) add(START, SiteKind.SPAN_STARTED, withSpan);
  else if ('sites' in returns) add(START, SiteKind.SPAN_STARTED, returns.sites);
  for (const end of ENDS) {
    const at = spanTypes.findIndex(({ name }) => name.replace(/^\*/, '') === end.type);
    const body = code.get(end.function);
    if (at < 0 || !body) continue;
    const entry = goEntry(body);
    if ('sites' in entry) add(end.function, SiteKind.SPAN_END, [entry.sites], at);
    else add(end.function, SiteKind.SPAN_END, firstInstruction(body), at);
  }
  return { sites, notices };
}

/** Of each goroutine that changes its status: a call is emulated by the kernel, and g is in AX. */
function scheduleSites(
  code: ReadonlyMap<string, FunctionCode>,
  calleesOf: (name: string) => ReadonlySet<number>,
): Choice<SupportSite[]> {
  const park = code.get(PARK);
  const parked = park ? goEntry(park) : { reason: 'is not there' };
  if ('reason' in parked) return { reason: `${PARK} ${parked.reason}` };
  const sites = [{ ...parked.sites, kind: SiteKind.PARK as number, at: 0, name: PARK }];
  const add = (name: string, kind: number, callee: string): void => {
    const body = code.get(name);
    for (const site of body ? callSites(body, calleesOf(callee)) : []) {
      sites.push({ ...site, kind, at: 0, name });
    }
  };
  for (const { function: name, kind } of SCHEDULE) add(name, kind, CHANGE);
  add(PREEMPT, SiteKind.STOP, STOPPED);
  const lacking = [SiteKind.READY, SiteKind.RUN, SiteKind.STOP].some(
    (kind) => !sites.some((site) => site.kind === kind),
  );
  if (lacking) return { reason: `the scheduler has no call of ${CHANGE} or ${STOPPED}` };
  const coroutines = code.get(SWITCH);
  if (coroutines) {
    const entry = goEntry(coroutines);
    if ('reason' in entry) return { reason: `${SWITCH} ${entry.reason}` };
    add(SWITCH, SiteKind.SWITCH, GOGO);
    if (sites.at(-1)?.kind !== SiteKind.SWITCH)
      return { reason: `${SWITCH} has no call of ${GOGO}` };
    sites.push({ ...entry.sites, kind: SiteKind.STOP, at: 0, name: SWITCH });
  }
  return { sites };
}

const waitsUnknown = (reason: string): Notice => ({
  code: 'WAITS_NOT_FOUND',
  message: `what calls wait for cannot be told: ${reason}`,
});

/** An End that does nothing is a single return, which can carry a probe as well as any other. */
function firstInstruction(code: FunctionCode): Site[] {
  const returns = returnSites(code);
  return 'sites' in returns ? returns.sites.filter(({ address }) => address === code.address) : [];
}

function needed(
  module: Module,
  name: string,
  code: FunctionCode | undefined,
  choose: (code: FunctionCode) => Choice<Site>,
): Site {
  const choice = code ? choose(code) : { reason: 'is not there' };
  if ('sites' in choice) return choice.sites;
  throw new UnderspanError(
    'unsupported',
    'RUNTIME_NOT_UNDERSTOOD',
    `${module.facts.path}: ${name} ${choice.reason}, so calls could not be told apart when stacks move`,
    'please report it with the output of "go version" for this file',
  );
}

async function codeOf(
  module: Module,
  table: FunctionTable,
  names: readonly string[],
  addresses: ReadonlyMap<string, number[]>,
): Promise<Map<string, FunctionCode>> {
  const wanted = names.flatMap((name) => {
    const address = addresses.get(name)?.[0];
    return address === undefined ? [] : [{ name, address }];
  });
  const sizes = wanted.map(({ address }) => table.sizes[table.addresses.indexOf(address)] ?? 0);
  const records = await module.instructions(
    Float64Array.from(wanted, ({ address }) => address),
    Float64Array.from(sizes),
  );
  const groups = groupByFunction(records, wanted.length);
  return new Map(
    wanted.map(({ name, address }, index) => [
      name,
      { address, size: sizes[index] ?? 0, instructions: groups[index] ?? [] },
    ]),
  );
}
