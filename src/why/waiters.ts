/**
 * Which call waited for which: by goroutine or thread first, since the parents that spans have lead
 * through the program's spans, and those do not say in which call they were begun.
 */
import type { ObservedCall, ObservedProgramSpan } from './spans.js';

export interface CallNode {
  span: ObservedCall;
  start: number;
  end: number;
  /** On the same goroutine or thread, one after the other; others ran beside it. The last first. */
  own: CallNode[];
  others: CallNode[];
  /** Nanoseconds that the request waited for this call and nothing beneath it. */
  criticalNs: number;
}

/** Deeper than any program nests, less deep than our own stack. */
export const MAX_DEPTH = 500;

type Span = ObservedCall | ObservedProgramSpan;
export type ParentOf = (span: Span) => Span | undefined;

/** The last first. */
export const byEnd = (a: CallNode, b: CallNode): number => b.end - a.end;

/** Puts each call beneath the one that waited for it; returns those for which no other did. */
export function placeCalls(
  nodes: readonly CallNode[],
  base: bigint,
  parentOf: ParentOf,
): CallNode[] {
  const lanes = new Map<string, CallNode[]>();
  for (const node of nodes) {
    const lane = lanes.get(laneOf(node.span));
    if (lane) lane.push(node);
    else lanes.set(laneOf(node.span), [node]);
  }
  const tops = new Map([...lanes].map(([lane, all]) => [lane, nest(all)]));
  const owners = new Owners(nodes, base, parentOf);
  const outermost: CallNode[] = [];
  const placed: [CallNode, CallNode][] = [];
  for (const [lane, all] of tops) {
    for (const node of all) {
      const owner = owners.laneFor(node);
      const above = owner === null || owner === lane ? null : around(tops.get(owner) ?? [], node);
      if (above) placed.push([above, node]);
      else outermost.push(node);
    }
  }
  for (const [above, node] of placed) above.others.push(node);
  for (const { own, others } of nodes) {
    own.sort(byEnd);
    others.sort(byEnd);
  }
  return outermost;
}

/** The goroutine or thread that it ran on. */
export const laneOf = ({ attributes }: Pick<ObservedCall, 'attributes'>): string =>
  `${attributes['process.pid'] ?? ''} ${attributes['underspan.goroutine.id'] ?? attributes['thread.id'] ?? ''}`;

/** Calls of one goroutine; returns the outermost, by their start. */
function nest(nodes: CallNode[]): CallNode[] {
  nodes.sort((a, b) => a.start - b.start || b.end - a.end);
  const tops: CallNode[] = [];
  const open: CallNode[] = [];
  for (const node of nodes) {
    while (open.length > 0 && (open.at(-1) as CallNode).end < node.end) open.pop();
    (open.at(-1)?.own ?? tops).push(node);
    open.push(node);
  }
  return tops;
}

/** The innermost call of another goroutine that began before it and ended after it. */
function around(tops: readonly CallNode[], { start, end }: CallNode): CallNode | null {
  let found: CallNode | null = null;
  let level = tops;
  for (let depth = 0; depth < MAX_DEPTH; depth++) {
    const node = lastBefore(level, start);
    if (!node || node.end < end) break;
    found = node;
    level = node.own;
  }
  return found;
}

/** Of calls by their start, which do not overlap. */
function lastBefore(nodes: readonly CallNode[], start: number): CallNode | undefined {
  let low = 0;
  for (let high = nodes.length; low < high;) {
    const middle = (low + high) >> 1;
    if ((nodes[middle] as CallNode).start <= start) low = middle + 1;
    else high = middle;
  }
  return nodes[low - 1];
}

/** On which goroutine the program's spans were begun. */
class Owners {
  private readonly lanes = new Map<string, string | null>();
  /** Calls by the span of the program's in which they ran. */
  private readonly within = new Map<string, CallNode[]>();

  constructor(
    nodes: readonly CallNode[],
    private readonly base: bigint,
    private readonly parentOf: ParentOf,
  ) {
    for (const node of nodes) {
      const { span } = node;
      const program = this.programSpanOf(span);
      if (!program) continue;
      const calls = this.within.get(program.spanId);
      if (calls) calls.push(node);
      else this.within.set(program.spanId, [node]);
      // It was the current span there.
      const isCurrent = span.attributes['underspan.context.source'] === 'go.sdk';
      if (isCurrent && span.parentSpanId === program.spanId) {
        this.lanes.set(program.spanId, laneOf(span));
      }
    }
  }

  /** Of the goroutine that may wait for the call; null: not known. */
  laneFor({ span }: CallNode): string | null {
    const program = this.programSpanOf(span);
    if (!program) return null;
    let lane = this.lanes.get(program.spanId);
    if (lane === undefined) {
      lane = this.find(program);
      this.lanes.set(program.spanId, lane);
    }
    return lane;
  }

  private programSpanOf(span: Span): ObservedProgramSpan | null {
    let above = this.parentOf(span);
    for (let depth = 0; above && depth < MAX_DEPTH; depth++) {
      if (!('functionIndex' in above)) return above;
      above = this.parentOf(above);
    }
    return null;
  }

  /** It was begun in a call of the span above it; without one, by whoever ran first. */
  private find(program: ObservedProgramSpan): string | null {
    const above = this.programSpanOf(program);
    const start = Number(program.startTimeUnixNano - this.base);
    let found: CallNode | null = null;
    if (above) {
      for (const node of this.within.get(above.spanId) ?? []) {
        const isAround = node.start <= start && node.end >= start;
        if (isAround && (!found || node.start > found.start)) found = node;
      }
    }
    if (!found) {
      for (const node of this.within.get(program.spanId) ?? []) {
        if (!found || node.start < found.start) found = node;
      }
    }
    return found && laneOf(found.span);
  }
}
