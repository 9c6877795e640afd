/**
 * A trace's spans → the requests in it, and for each call the time that the request waited for it.
 *
 * The program's own spans say what belongs together, and name the request. Time belongs to calls:
 * what happens in a span of the program, and in no call beneath it, is of the call that made it.
 */
import type { ObservedCall, ObservedProgramSpan } from './spans.js';
import { byEnd, type CallNode, MAX_DEPTH, type ParentOf, placeCalls } from './waiters.js';

export interface Request {
  name: string;
  /** By a span of the program's, and not after its outermost call. */
  isNamed: boolean;
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

export function requestsOf(
  calls: readonly ObservedCall[],
  programSpans: readonly ObservedProgramSpan[],
): Request[] {
  const ofCalls = new Map(calls.map((span) => [span.spanId, span]));
  const ofProgram = new Map(programSpans.map((span) => [span.spanId, span]));
  const parentOf: ParentOf = (span) =>
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
  parentOf: ParentOf,
): Request {
  const base = top.startTimeUnixNano;
  const nodes = calls.map((span): CallNode => ({
    span,
    start: Number(span.startTimeUnixNano - base),
    end: Number(span.endTimeUnixNano - base),
    own: [],
    others: [],
    criticalNs: 0,
  }));
  const durationNs = Number(top.endTimeUnixNano - base);
  // What outlives the request was not waited for.
  const outermost = placeCalls(nodes, base, parentOf)
    .filter(({ end }) => end <= durationNs)
    .sort(byEnd);
  // The program's span has no goroutine that we know of.
  const root = { start: 0, end: durationNs, own: [] as CallNode[], others: outermost };
  return {
    name: top.name,
    isNamed: !('functionIndex' in top),
    traceId: top.traceId,
    startUnixNano: base,
    durationNs,
    calls: outermost,
    all: nodes,
    programSpans,
    elsewhereNs: walk(root, 0, durationNs, 0),
  };
}

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
