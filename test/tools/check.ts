import type { FunctionSpan } from '../../src/spans/span.js';
import { expectedCalls, type ExpectedCall, type Watched } from './parents.js';
import { plainName, type Truth, type TruthCall } from './truth.js';

/** As much of a span as is compared. */
export type CheckedSpan = Pick<
  FunctionSpan,
  'name' | 'spanId' | 'parentSpanId' | 'traceId' | 'startTimeUnixNano'
> & { attributes: Record<string, unknown> };

export interface CheckOptions extends Watched {
  /** When tracing ended; a call that was open then needs no span. */
  until?: bigint;
  /** Spans were filtered: a call without one is no difference, a span without its parent is. */
  partial?: boolean;
}

export interface Difference {
  kind: 'missing' | 'surplus' | 'duplicate' | 'trace' | 'parent' | 'source';
  function: string;
  goroutine: number;
  /** Of the call, where there is one. */
  seq: number | null;
  expected: string;
  actual: string;
}

/** The clock of the log and that of the spans are read apart. */
const CLOCK_SLACK = 100_000n;

/** Compares every call with its span. Empty: exactly one span a call, each placed right. */
export function checkSpans(
  truth: Truth,
  spans: readonly CheckedSpan[],
  options: CheckOptions,
): Difference[] {
  const differences: Difference[] = [];
  const calls = expectedCalls(truth, options);
  const wanted = groupBy(calls, callKey);
  const arrived = groupBy(
    spans.filter((span) => options.traced.has(plainName(span.name))),
    spanKey,
  );
  const links = new Map<TruthCall, CheckedSpan>();

  for (const key of new Set([...wanted.keys(), ...arrived.keys()])) {
    const sampled = (wanted.get(key) ?? []).filter((expected) => expected.sampled);
    const surplus = link(sampled, arrived.get(key) ?? [], links);
    for (const span of surplus) differences.push(surplusSpan(span));
  }
  differences.push(...duplicates(spans));

  const traces = new Set([...truth.spans.values()].map((span) => span.trace));
  for (const expected of calls) {
    const span = links.get(expected.call);
    if (span) differences.push(...compare(expected, span, links, traces, options));
    else if (expected.sampled && !options.partial && hasEnded(expected.call, options))
      differences.push(difference(expected.call, 'missing', 'one span', 'none'));
  }
  return differences;
}

export function describe(difference: Difference): string {
  const { kind, function: name, goroutine, seq, expected, actual } = difference;
  const call = seq === null ? '' : ` call ${seq}`;
  return `${kind}: ${name}, goroutine ${goroutine}${call}: expected ${expected}, got ${actual}`;
}

function compare(
  expected: ExpectedCall,
  span: CheckedSpan,
  links: ReadonlyMap<TruthCall, CheckedSpan>,
  traces: ReadonlySet<string>,
  options: CheckOptions,
): Difference[] {
  const { call, parent, trace, source } = expected;
  const differences: Difference[] = [];
  const expect = (kind: Difference['kind'], wanted: string, actual: string): void => {
    if (wanted !== actual) differences.push(difference(call, kind, wanted, actual));
  };

  if (typeof trace === 'string') expect('trace', trace, span.traceId);
  else if (trace === call) {
    if (traces.has(span.traceId)) expect('trace', 'one of its own', span.traceId);
  } else {
    const outermost = links.get(trace);
    if (outermost) expect('trace', outermost.traceId, span.traceId);
  }

  const actual = span.parentSpanId ?? 'none';
  if (parent.kind === 'none') expect('parent', 'none', actual);
  else if (parent.kind === 'span') expect('parent', parent.id, actual);
  else {
    const around = links.get(parent.call.call);
    if (around) expect('parent', around.spanId, actual);
    else if (options.partial && hasEnded(parent.call.call, options))
      expect('parent', `a span of ${parent.call.call.function}, which has none`, actual);
  }
  expect('source', source, String(span.attributes['underspan.context.source']));
  return differences;
}

/**
 * Links calls of one function on one goroutine with the spans of the same, both in the order of
 * their beginnings. Returns the spans that are left.
 */
function link(
  calls: readonly ExpectedCall[],
  spans: CheckedSpan[],
  links: Map<TruthCall, CheckedSpan>,
): CheckedSpan[] {
  spans.sort((a, b) => Number(a.startTimeUnixNano - b.startTimeUnixNano));
  const surplus: CheckedSpan[] = [];
  let next = 0;
  for (const span of spans) {
    // If some have no span, time tells which: the log is written shortly after the beginning.
    if (calls.length !== spans.length)
      while (next < calls.length && timeOf(calls, next) + CLOCK_SLACK < span.startTimeUnixNano)
        next++;
    const expected = calls[next++];
    if (expected) links.set(expected.call, span);
    else surplus.push(span);
  }
  return surplus;
}

function timeOf(calls: readonly ExpectedCall[], index: number): bigint {
  return calls[index]?.call.time ?? 0n;
}

function hasEnded(call: TruthCall, { until }: CheckOptions): boolean {
  return call.end !== null && (until === undefined || call.end <= until);
}

function duplicates(spans: readonly CheckedSpan[]): Difference[] {
  const seen = new Set<string>();
  return spans
    .filter(({ spanId }) => seen.size === seen.add(spanId).size)
    .map((span) => ({ ...surplusSpan(span), kind: 'duplicate', expected: 'an id of its own' }));
}

function surplusSpan(span: CheckedSpan): Difference {
  return {
    kind: 'surplus',
    function: plainName(span.name),
    goroutine: goroutineOf(span),
    seq: null,
    expected: 'no span',
    actual: span.spanId,
  };
}

function difference(
  call: TruthCall,
  kind: Difference['kind'],
  expected: string,
  actual: string,
): Difference {
  const { function: name, goroutine, seq } = call;
  return { kind, function: name, goroutine, seq, expected, actual };
}

function goroutineOf(span: CheckedSpan): number {
  return Number(span.attributes['underspan.goroutine.id']);
}

function callKey({ call }: ExpectedCall): string {
  return `${call.function} ${call.goroutine}`;
}

function spanKey(span: CheckedSpan): string {
  return `${plainName(span.name)} ${goroutineOf(span)}`;
}

function groupBy<T>(items: readonly T[], key: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(key(item));
    if (group) group.push(item);
    else groups.set(key(item), [item]);
  }
  return groups;
}
