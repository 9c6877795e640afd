/** What a user wants of the functions of one selection, and the rule that it makes. */
import { UnderspanError } from '../errors.js';
import type { Features } from '../native/native.js';
import type { ErrorMode } from '../plan/error-modes.js';
import type { HostCosts } from '../plan/host-costs.js';
import type { PlanRequest } from '../plan/plan-module.js';
import { isSecret } from '../plan/secrets.js';
import type { Trampolines } from '../plan/trampolines.js';
import type { SpanAttribute } from '../spans/span-attribute.js';
import { parseSpanCondition } from '../spans/span-condition.js';
import { parseSpanKey, type SpanKey } from '../spans/span-key.js';
import { sampleThreshold } from '../spans/sampling.js';
import { inProcess, parsePattern } from '../symbols/patterns.js';
import type { TraceRule } from './rule.js';

/** What to trace and what to keep. Durations in nanoseconds. */
export interface TraceWishes {
  /** Patterns as the user wrote them, [MODULE:]NAME. */
  symbols: string[];
  /** Functions that handle HTTP requests, traced too; the requests are counted by route. */
  handlers: { symbol: string; route: string }[];
  exclude: string[];
  minDurationNs: number;
  /** Only trees whose outermost call was slower; null: all. */
  slowerThanNs: number | null;
  errorsOnly: boolean;
  /** Only trees beneath a span of the program's own of this name, a pattern; null: all. */
  span: string | null;
  /** What must hold for that span too; see span-condition.ts. */
  where: string[];
  /** What spans are counted by; see span-key.ts. Null: nothing. */
  by: string | null;
  /** Spans of one function beneath one parent before the others are folded into one; 0: any number. */
  fold: number;
  /** Share of traces, 0 to 1. */
  sample: number;
  /** Trees a second; 0: no limit. */
  maxRate: number;
  followForks: boolean;
  entryOnly: boolean;
  /** Wrappers of a context.Context that are looked through, 1 to 100. */
  contextHops: number;
  /** Arguments that spans carry, as paths: "order.ID"; "*" is all of them. */
  args: string[];
  /** Spans carry what calls returned. */
  returns: boolean;
  /** Spans carry the stack of their call. */
  stack: boolean;
  /** Spans, and statistics, say what calls waited for. */
  waits: boolean;
  /** What the garbage collector does is told as spans, and of spans how much of it fell into them. */
  gc: boolean;
  /** Spans, and statistics, say what calls allocated. */
  allocations: boolean;
  /** Texts of errors and panics, not only their types. */
  errorText: boolean;
  /** What results of C, C++ and Rust are errors; null: Rust's Err alone. */
  errors: ErrorMode[] | null;
  /** Names of values that are not shown, besides those that look like secrets; null: show all. */
  redact: string[] | null;
  /** Calls without a context become traces of their own. */
  roots: boolean;
  /** Spans also where the program's own trace is not sampled. */
  unsampled: boolean;
  /** Returns are carried out by our programs where the kernel lets them. */
  emulateReturns: boolean;
  /** Returns of all native functions by replaced return addresses, whatever the process has mapped. */
  returnTrampoline: boolean;
  /** What tracing may cost a target, as a share of one CPU; 1: any cost. */
  maxOverhead: number;
  /** Functions that may be attached in one executable; null: what this kernel bears. */
  maxFunctions: number | null;
}

/** Sites that are attached one by one, where the kernel has no uprobe_multi. */
const MAX_SINGLE_SITES = 1_000;
const MAX_FUNCTIONS = 2_000;
/** To detach a probe takes the kernel some tens of milliseconds where each is on its own. */
export const MAX_SINGLE_FUNCTIONS = 100;

/** How many functions are traced at once where nobody says; `usual`: where they are attached at once. */
export const functionsAtMost = (
  { uprobeMulti }: Pick<Features, 'uprobeMulti'>,
  usual = MAX_FUNCTIONS,
): number => (uprobeMulti ? usual : Math.min(usual, MAX_SINGLE_FUNCTIONS));

export function planRequest(
  wishes: TraceWishes,
  features: Features,
  costs: HostCosts,
): PlanRequest {
  return {
    patterns: [...wishes.symbols, ...wishes.handlers.map(({ symbol }) => symbol)].map((text) =>
      parsePattern(text),
    ),
    handlers: wishes.handlers.map(({ symbol, route }) => ({
      pattern: inProcess(parsePattern(symbol)),
      route,
    })),
    excludes: wishes.exclude.map(parsePattern),
    entryOnly: wishes.entryOnly,
    trampolines: trampolinesOf(wishes, features),
    values: {
      args: wishes.args,
      returns: wishes.returns,
      stack: wishes.stack,
      redact: wishes.redact,
      errors: wishes.errors,
    },
    waits: wishes.waits && !wishes.entryOnly,
    gc: wishes.gc,
    allocations: wishes.allocations && !wishes.entryOnly,
    costs: wishes.emulateReturns ? costs : { ...costs, carriedOutNs: null },
    maxFunctions: wishes.maxFunctions ?? functionsAtMost(features),
    maxSites: features.uprobeMulti ? Infinity : MAX_SINGLE_SITES,
  };
}

function trampolinesOf(wishes: TraceWishes, { uprobeSession }: Features): Trampolines {
  if (!uprobeSession) return 'never';
  return wishes.returnTrampoline ? 'always' : 'needed';
}

/** Which processes, as the rule is asked. */
export type Selects = Pick<TraceRule, 'id' | 'name' | 'fits' | 'reach' | 'followExecs' | 'hold'>;

export function ruleOf(
  wishes: TraceWishes,
  features: Features,
  costs: HostCosts,
  selects: Selects,
): TraceRule {
  const { minDurationNs, slowerThanNs, errorsOnly, fold, followForks } = wishes;
  const attributes: SpanAttribute[] = [];
  const span = parseSpanCondition(wishes.span, wishes.where, attributes);
  const by = keyOf(wishes, attributes);
  return {
    ...selects,
    request: planRequest(wishes, features, costs),
    options: {
      minDurationNs,
      sampleThreshold: sampleThreshold(wishes.sample),
      maxRate: wishes.maxRate,
      roots: wishes.roots,
      unsampled: wishes.unsampled,
      entryOnly: wishes.entryOnly,
      contextHops: wishes.contextHops,
      errorText: wishes.errorText,
      emulateReturns: wishes.emulateReturns,
      returnTrampoline: wishes.returnTrampoline,
      waits: wishes.waits && !wishes.entryOnly,
      gc: wishes.gc,
      allocations: wishes.allocations && !wishes.entryOnly,
      spanAttributes: span || by ? attributes : null,
    },
    filter: { minDurationNs, slowerThanNs, errorsOnly, span, fold },
    by,
    followForks,
    maxOverhead: wishes.maxOverhead,
  };
}

function keyOf(
  { by, entryOnly, redact }: TraceWishes,
  attributes: SpanAttribute[],
): SpanKey | null {
  if (by === null) return null;
  const key = parseSpanKey(by, attributes);
  if (entryOnly) {
    throw new UnderspanError(
      'usage',
      'NOTHING_TO_COUNT',
      `spans are to be counted by '${key.text}', and entries alone make none`,
      'leave out --by or --entry-only',
    );
  }
  if (key.attribute !== null && isSecret([key.attribute], redact)) {
    throw new UnderspanError(
      'usage',
      'KEY_HIDDEN',
      `'${key.attribute}' is a name whose values are hidden, and the summary would show them`,
      'choose another attribute, or show what looks like a secret by --no-redact',
    );
  }
  return key;
}
