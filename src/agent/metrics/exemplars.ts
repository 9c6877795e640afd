/** The latest span of each function in each bucket of its histogram. */
import type { Sink } from '../../sinks/sink.js';
import type { FunctionSpan } from '../../spans/span.js';
import { DURATION_BUCKETS, durationBucket } from './buckets.js';

export interface Exemplar {
  traceId: string;
  spanId: string;
  durationNano: number;
  endTimeUnixNano: bigint;
}

type Buckets = (Exemplar | null)[];

/** A trace that is older has often left where it was kept. */
const SHOWN_FOR_NANO = 600_000_000_000n;

export class Exemplars implements Sink {
  private readonly functions = new Map<number, Buckets>();

  /** Of functions beyond `maxFunctions` nothing is remembered. */
  constructor(private readonly maxFunctions = 20_000) {}

  spans(tree: readonly FunctionSpan[]): void {
    for (const span of tree) {
      // The duration of no call.
      if (span.attributes['underspan.folded.count'] === undefined) this.remember(span);
    }
  }

  /** Of the functions that are known now, whatever is forgotten later; null: no recent span. */
  latestOf(nowUnixNano: bigint): (functionIndex: number, bucket: number) => Exemplar | null {
    const functions = new Map(this.functions);
    return (functionIndex, bucket) => {
      const exemplar = functions.get(functionIndex)?.[bucket];
      if (!exemplar || exemplar.endTimeUnixNano < nowUnixNano - SHOWN_FOR_NANO) return null;
      return exemplar;
    };
  }

  /** Must come before another function gets the same index. */
  forget(functionIndex: number): void {
    this.functions.delete(functionIndex);
  }

  /** Forgets all functions but these. */
  keep(functionIndexes: ReadonlySet<number>): void {
    for (const index of this.functions.keys()) {
      if (!functionIndexes.has(index)) this.functions.delete(index);
    }
  }

  close(): Promise<void> {
    this.functions.clear();
    return Promise.resolve();
  }

  /** Fields are copied: a span kept as it is would keep its arguments and its stack. */
  private remember(span: FunctionSpan): void {
    const { traceId, spanId, durationNano, endTimeUnixNano } = span;
    const buckets = this.bucketsOf(span.functionIndex);
    if (!buckets) return;
    const bucket = durationBucket(durationNano);
    const last = buckets[bucket];
    if (!last) {
      buckets[bucket] = { traceId, spanId, durationNano, endTimeUnixNano };
    } else if (endTimeUnixNano >= last.endTimeUnixNano) {
      last.traceId = traceId;
      last.spanId = spanId;
      last.durationNano = durationNano;
      last.endTimeUnixNano = endTimeUnixNano;
    }
  }

  private bucketsOf(functionIndex: number): Buckets | null {
    const known = this.functions.get(functionIndex);
    if (known) return known;
    if (this.functions.size >= this.maxFunctions) return null;
    const buckets = new Array<Exemplar | null>(DURATION_BUCKETS).fill(null);
    this.functions.set(functionIndex, buckets);
    return buckets;
  }
}
