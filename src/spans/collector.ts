/** What the garbage collector of a Go program does: its cycles as spans, and the pauses of calls. */
import { randomBytes } from 'node:crypto';
import type { CollectorRecord } from './call.js';
import { GcEvent, GcPhase } from './records.generated.js';
import type { AttributeValue, FunctionSpan, ProcessResource } from './span.js';

export interface Pause {
  startNs: number;
  endNs: number;
  /** GcPhase. */
  phase: number;
}

export interface Cycle {
  tgid: number;
  startNs: number;
  endNs: number;
  /** The earliest first. */
  pauses: readonly Pause[];
  /** Bytes; null: not known. */
  heapLive: number | null;
  heapGoal: number | null;
}

/** How many pauses of a process are remembered, for calls that are longer than that. */
const MOST_PAUSES = 4_096;
const MOST_PROCESSES = 1_024;
/** What is said to be open for longer has ended, and its record was lost. */
const LONGEST_NS = 1e9;

/** The pauses of one process, which never overlap. */
class Pauses {
  /** The earliest first. */
  private known: Pause[] = [];
  /** Since when the world has been stopped, as far as it is known; 0: it is not. */
  private openNs = 0;
  /** Of what ended up to then there is nothing any more. */
  private forgottenNs = 0;

  begin(startNs: number): void {
    this.openNs = startNs;
  }

  end(pause: Pause): void {
    this.openNs = 0;
    this.known.push(pause);
    if (this.known.length >= 2 * MOST_PAUSES) {
      this.forgottenNs = this.known[MOST_PAUSES - 1]?.endNs ?? 0;
      this.known = this.known.slice(MOST_PAUSES);
    }
  }

  get isOpen(): boolean {
    return this.openNs > 0;
  }

  since(startNs: number): Pause[] {
    return this.known.slice(this.firstAfter(startNs));
  }

  /** null: it is not known any more. */
  overlap(startNs: number, endNs: number): number | null {
    if (startNs < this.forgottenNs) return null;
    let sum = 0;
    for (let index = this.firstAfter(startNs); index < this.known.length; index++) {
      const pause = this.known[index];
      if (!pause || pause.startNs >= endNs) break;
      sum += Math.min(endNs, pause.endNs) - Math.max(startNs, pause.startNs);
    }
    const open = this.openNs;
    if (open > 0 && endNs > open && endNs - open < LONGEST_NS) {
      sum += endNs - Math.max(startNs, open);
    }
    return sum;
  }

  /** Index of the first that ends later than that. */
  private firstAfter(ns: number): number {
    let low = 0;
    let high = this.known.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.known[middle]?.endNs ?? 0) > ns) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

export interface CollectorsOptions {
  onPause: (tgid: number, pause: Pause) => void;
  onCycle: (cycle: Cycle) => void;
}

/** Of all processes. */
export class Collectors {
  private readonly processes = new Map<number, Pauses>();

  constructor(private readonly options: CollectorsOptions) {}

  add({ tgid, event, phase, startNs, endNs, cycleNs, heapLive, heapGoal }: CollectorRecord): void {
    const pauses = this.of(tgid);
    if (event === GcEvent.PAUSE_BEGINS) {
      pauses.begin(startNs);
      return;
    }
    const pause = { startNs, endNs, phase };
    pauses.end(pause);
    this.options.onPause(tgid, pause);
    if (event !== GcEvent.CYCLE_ENDS || cycleNs === null) return;
    this.options.onCycle({
      ...{ tgid, startNs: cycleNs, endNs, heapLive, heapGoal },
      pauses: pauses.since(cycleNs),
    });
  }

  /** How much of this time the collector had stopped the world; null: it is not known. */
  pausedDuring(tgid: number, startNs: number, durationNs: number): number | null {
    return this.processes.get(tgid)?.overlap(startNs, startNs + durationNs) ?? null;
  }

  /** Its world is stopped: for how long will be known soon. */
  isPaused(tgid: number): boolean {
    return this.processes.get(tgid)?.isOpen ?? false;
  }

  forget(tgid: number): void {
    this.processes.delete(tgid);
  }

  private of(tgid: number): Pauses {
    let pauses = this.processes.get(tgid);
    if (!pauses) {
      const [oldest] = this.processes.size < MOST_PROCESSES ? [] : this.processes.keys();
      if (oldest !== undefined) this.processes.delete(oldest);
      pauses = new Pauses();
      this.processes.set(tgid, pauses);
    }
    return pauses;
  }
}

const PHASES = new Map<number, string>([
  [GcPhase.SWEEP_TERMINATION, 'sweep_termination'],
  [GcPhase.MARK_TERMINATION, 'mark_termination'],
]);

/** No function's number: nothing counts calls of it. */
const NO_FUNCTION = -1;

/** A cycle as a trace of its own, which belongs to no request. */
export function cycleSpans(
  cycle: Cycle,
  clockOffsetNs: bigint,
  resource: ProcessResource,
): FunctionSpan[] {
  const traceId = randomBytes(16).toString('hex');
  const rootId = randomBytes(8).toString('hex');
  const span = (
    name: string,
    from: { startNs: number; endNs: number },
    attributes: Record<string, AttributeValue>,
    isRoot = false,
  ): FunctionSpan => ({
    traceId,
    spanId: isRoot ? rootId : randomBytes(8).toString('hex'),
    parentSpanId: isRoot ? null : rootId,
    traceFlags: 1,
    name,
    startTimeUnixNano: BigInt(from.startNs) + clockOffsetNs,
    endTimeUnixNano: BigInt(from.endNs) + clockOffsetNs,
    durationNano: from.endNs - from.startNs,
    status: { code: 'unset' },
    attributes: { 'process.pid': cycle.tgid, ...attributes },
    resource,
    functionIndex: NO_FUNCTION,
  });
  const { pauses, heapLive, heapGoal } = cycle;
  const attributes: Record<string, AttributeValue> = {
    'underspan.gc.paused': pauses.reduce((sum, each) => sum + each.endNs - each.startNs, 0),
  };
  if (heapLive !== null) attributes['underspan.gc.heap.live'] = heapLive;
  if (heapGoal !== null) attributes['underspan.gc.heap.goal'] = heapGoal;
  const root = span('runtime.gc', cycle, attributes, true);
  const stops = pauses.map((pause) =>
    span('runtime.gc.pause', pause, { 'underspan.gc.phase': PHASES.get(pause.phase) ?? 'other' }),
  );
  const [first] = pauses;
  const last = pauses.at(-1);
  if (!first || !last || last.startNs <= first.endNs) return [root, ...stops];
  // Meanwhile the program runs on, and marks too.
  const mark = span('runtime.gc.mark', { startNs: first.endNs, endNs: last.startNs }, {});
  return [root, mark, ...stops];
}
