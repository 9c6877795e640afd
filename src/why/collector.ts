/** Spans as they come → profiles of whole requests, within bounds. */
import { type Profile, profileOf } from './profile.js';
import type { ObservedCall, ObservedProgramSpan } from './spans.js';
import { requestsOf } from './tree.js';
import { laneOf } from './waiters.js';

export interface CollectorOptions {
  onProfile: (profile: Profile) => void;
  /** How long a trace must have been quiet, in ms. */
  quietMs?: number;
  /** Longer waits only what lacks a span that was not seen to end. */
  longestMs?: number;
  maxSpans?: number;
  maxSpansOfTrace?: number;
  /** Milliseconds of any clock. */
  now?: () => number;
}

const SETTLE_MS = 250;
const MAX_LANES = 10_000;

interface Pending {
  calls: ObservedCall[];
  programSpans: ObservedProgramSpan[];
  ids: Set<string>;
  changed: number;
  cut: boolean;
}

export class Collector {
  /** Spans that found no room. */
  dropped = 0;
  /** By goroutine or thread, the last call that had found a context. */
  private readonly last = new Map<string, ObservedCall>();
  private held = 0;
  private settledAt = 0;
  /** The one that has been quiet for longest is the first. */
  private readonly traces = new Map<string, Pending>();
  private readonly quietMs: number;
  private readonly longestMs: number;
  private readonly maxSpans: number;
  private readonly maxSpansOfTrace: number;
  private readonly now: () => number;

  constructor(private readonly options: CollectorOptions) {
    this.quietMs = options.quietMs ?? 1_000;
    this.longestMs = options.longestMs ?? 30_000;
    this.maxSpans = options.maxSpans ?? 200_000;
    this.maxSpansOfTrace = options.maxSpansOfTrace ?? 20_000;
    this.now = options.now ?? ((): number => performance.now());
  }

  calls(batch: readonly ObservedCall[]): void {
    for (const span of batch) this.remember(span);
    const around = batch.find((span) => this.isAround(span))?.traceId;
    for (const span of batch) if (span.traceId !== around) this.add(span, 'calls');
    this.settleAtTimes();
  }

  programSpans(batch: readonly ObservedProgramSpan[]): void {
    for (const span of batch) this.add(span, 'programSpans');
    this.settleAtTimes();
  }

  /** Traces that have been quiet for long enough are whole. */
  settle(): void {
    const now = this.now();
    this.settledAt = now;
    for (const [id, pending] of this.traces) {
      const quiet = now - pending.changed;
      const full = this.held > this.maxSpans;
      if (!full && quiet < this.quietMs) return;
      if (!full && quiet < this.longestMs && lacksSpans(pending)) continue;
      this.traces.delete(id);
      this.release(pending);
    }
  }

  /** No more spans come. */
  finish(): void {
    for (const pending of this.traces.values()) this.release(pending);
    this.traces.clear();
  }

  private remember(span: ObservedCall): void {
    if (span.attributes['underspan.context.source'] === 'none') return;
    const lane = laneOf(span);
    this.last.delete(lane);
    this.last.set(lane, span);
    if (this.last.size > MAX_LANES) this.last.delete(this.last.keys().next().value as string);
  }

  /**
   * A call without a context in which one with a context ran, as in a handler around that of the SDK:
   * the request is another trace's, which went out before, and is not looked at twice.
   */
  private isAround({ parentSpanId, ...span }: ObservedCall): boolean {
    if (parentSpanId !== null) return false;
    const last = this.last.get(laneOf(span));
    return (
      last !== undefined &&
      last.traceId !== span.traceId &&
      last.startTimeUnixNano >= span.startTimeUnixNano &&
      last.endTimeUnixNano <= span.endTimeUnixNano
    );
  }

  private add(span: ObservedCall, to: 'calls'): void;
  private add(span: ObservedProgramSpan, to: 'programSpans'): void;
  private add(span: ObservedCall | ObservedProgramSpan, to: 'calls' | 'programSpans'): void {
    const pending = this.traces.get(span.traceId) ?? {
      calls: [],
      programSpans: [],
      ids: new Set(),
      changed: 0,
      cut: false,
    };
    this.traces.delete(span.traceId);
    this.traces.set(span.traceId, pending);
    pending.changed = this.now();
    if (pending.ids.size >= this.maxSpansOfTrace) {
      pending.cut = true;
      this.dropped++;
      return;
    }
    pending.ids.add(span.spanId);
    (pending[to] as (typeof span)[]).push(span);
    this.held++;
  }

  private settleAtTimes(): void {
    if (this.held > this.maxSpans || this.now() - this.settledAt >= SETTLE_MS) this.settle();
  }

  private release({ calls, programSpans, ids, cut }: Pending): void {
    this.held -= ids.size;
    if (calls.length === 0) return;
    for (const request of requestsOf(calls, programSpans)) {
      const profile = profileOf(request);
      if (cut) profile.incomplete = true;
      this.options.onProfile(profile);
    }
  }
}

/** The program's span that a call belongs to goes on, or began before it was traced. */
const lacksSpans = ({ calls, ids }: Pending): boolean =>
  calls.some(({ parentSpanId }) => parentSpanId !== null && !ids.has(parentSpanId));
