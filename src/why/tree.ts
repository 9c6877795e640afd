/**
 * A trace's spans → the requests in it, and for each call the time that the request waited for it.
 *
 * The program's own spans say what belongs together, and name the request. Time belongs to calls:
 * what happens in a span of the program, and in no call beneath it, is of the call that made it.
 */
import type { ObservedCall, ObservedProgramSpan } from './spans.js';

export interface CallNode {
  span: ObservedCall;
  start: number;
  end: number;
  /** On the same goroutine or thread they came one after the other; others ran beside them. */
  own: CallNode[];
  others: CallNode[];
  /** Nanoseconds that the request waited for this call and nothing beneath it. */
  criticalNs: number;
}

export interface Request {
  name: string;
  traceId: string;
  startUnixNano: bigint;
  durationNs: number;
  /** The outermost calls. */
  calls: CallNode[];
  /** All of them, also those that the request did not wait for. */
  all: CallNode[];
  programSpans: ObservedProgramSpan[];
  /** Of the program's span, outside of any call. */
  elsewhereNs: number;
}

/** Deeper than any program nests, less deep than our own stack. */
const MAX_DEPTH = 500;

export function requestsOf(
  calls: readonly ObservedCall[],
  programSpans: readonly ObservedProgramSpan[],
): Request[] {
  const ofCalls = new Map(calls.map((span) => [span.spanId, span]));
  const ofProgram = new Map(programSpans.map((span) => [span.spanId, span]));
  const parentOf = (
    span: ObservedCall | ObservedProgramSpan,
  ): ObservedCall | ObservedProgramSpan | undefined =>
    span.parentSpanId === null
      ? undefined
      : (ofCalls.get(span.parentSpanId) ?? ofProgram.get(span.parentSpanId));
  const tops = new Map<string, ObservedCall | ObservedProgramSpan>();
  const topOf = (span: ObservedCall | ObservedProgramSpan): ObservedCall | ObservedProgramSpan => {
    const way: string[] = [];
    let top = span;
    for (let up = parentOf(top); up && way.length < MAX_DEPTH; up = parentOf(top)) {
      const known = tops.get(top.spanId);
      if (known) {
        top = known;
        break;
      }
      way.push(top.spanId);
      top = up;
    }
    for (const id of way) tops.set(id, top);
    return top;
  };
  const found = new Map<string, { top: ObservedCall | ObservedProgramSpan } & Members>();
  const membersOf = (span: ObservedCall | ObservedProgramSpan): Members => {
    const top = topOf(span);
    let members = found.get(top.spanId);
    if (!members) found.set(top.spanId, (members = { top, calls: [], programSpans: [] }));
    return members;
  };
  for (const span of calls) membersOf(span).calls.push(span);
  for (const span of programSpans) membersOf(span).programSpans.push(span);
  return [...found.values()]
    .filter((members) => members.calls.length > 0)
    .map(({ top, ...members }) => requestOf(top, members, parentOf));
}

interface Members {
  calls: ObservedCall[];
  programSpans: ObservedProgramSpan[];
}

function requestOf(
  top: ObservedCall | ObservedProgramSpan,
  { calls, programSpans }: Members,
  parentOf: (
    span: ObservedCall | ObservedProgramSpan,
  ) => ObservedCall | ObservedProgramSpan | undefined,
): Request {
  const base = top.startTimeUnixNano;
  const nodes = new Map<string, CallNode>();
  for (const span of calls) {
    nodes.set(span.spanId, {
      span,
      start: Number(span.startTimeUnixNano - base),
      end: Number(span.endTimeUnixNano - base),
      own: [],
      others: [],
      criticalNs: 0,
    });
  }
  const durationNs = Number(top.endTimeUnixNano - base);
  const outermost: CallNode[] = [];
  for (const node of nodes.values()) {
    const above = waiterOf(node, nodes, parentOf);
    if (above) (runsOn(above) === runsOn(node) ? above.own : above.others).push(node);
    // What outlives the request was not waited for.
    else if (node.end <= durationNs) outermost.push(node);
  }
  for (const { own, others } of [{ own: [], others: outermost }, ...nodes.values()]) {
    own.sort(byEnd);
    others.sort(byEnd);
  }
  // The program's span has no goroutine that we know of.
  const root = { start: 0, end: durationNs, own: [] as CallNode[], others: outermost };
  return {
    name: top.name,
    traceId: top.traceId,
    startUnixNano: base,
    durationNs,
    calls: outermost,
    all: [...nodes.values()],
    programSpans,
    elsewhereNs: walk(root, 0, durationNs, 0),
  };
}

/**
 * The nearest call above that ends later: nothing waits for what outlives it. A call may end a span of
 * the program that it runs in, and so be over a little later than what it belongs to.
 */
function waiterOf(
  node: CallNode,
  nodes: ReadonlyMap<string, CallNode>,
  parentOf: (
    span: ObservedCall | ObservedProgramSpan,
  ) => ObservedCall | ObservedProgramSpan | undefined,
): CallNode | null {
  let span = parentOf(node.span);
  for (let depth = 0; span && depth < MAX_DEPTH; depth++) {
    const above = nodes.get(span.spanId);
    if (above && above.end >= node.end) return above;
    span = parentOf(span);
  }
  return null;
}

/** The last first. */
const byEnd = (a: CallNode, b: CallNode): number => b.end - a.end;

const runsOn = ({ span }: CallNode): unknown =>
  span.attributes['underspan.goroutine.id'] ?? span.attributes['thread.id'] ?? '';

type Walked = Pick<CallNode, 'start' | 'end' | 'own' | 'others'>;

/** Returns what is left for the node itself of the time from `from` to `to`. */
function walk({ own, others }: Walked, from: number, to: number, depth: number): number {
  if (depth >= MAX_DEPTH) return to - from;
  let rest = 0;
  let gapEnd = to;
  for (const node of own) {
    const start = Math.max(from, node.start);
    const end = Math.min(gapEnd, node.end);
    if (end <= start) continue;
    rest += gap(others, end, gapEnd, depth);
    node.criticalNs += walk(node, start, end, depth + 1);
    gapEnd = start;
  }
  return rest + gap(others, from, gapEnd, depth);
}

/** While a call runs nothing beneath it on its own goroutine, it may wait for others. */
function gap(others: readonly CallNode[], from: number, to: number, depth: number): number {
  if (others.length === 0) return to - from;
  let cursor = to;
  let rest = 0;
  for (const node of others) {
    const start = Math.max(from, node.start);
    const end = Math.min(cursor, node.end);
    if (end <= start) continue;
    rest += cursor - end;
    node.criticalNs += walk(node, start, end, depth + 1);
    cursor = start;
  }
  return rest + (cursor - from);
}
