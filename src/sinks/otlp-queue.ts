/** Spans on their way to a collector: bounded, taken and refused by whole trees. */
import type { FunctionSpan } from '../spans/span.js';
import type { EncodedBatch } from './otlp-wire.js';

/** What is sent in one request. */
export interface Batch {
  spans: readonly FunctionSpan[];
  bytes: number;
  encoded: EncodedBatch | null;
  /** Milliseconds of the clock at its first failure. */
  failedSince: number | null;
}

/** Largest request. A collector refuses more than 4 MiB unless told otherwise. */
const BATCH = { spans: 2_048, bytes: 2 * 1024 * 1024 };

export class OtlpQueue {
  private trees: (readonly FunctionSpan[])[] = [];
  /** Trees before this one have been taken. */
  private next = 0;
  private queued = 0;
  private spans = 0;
  private bytes = 0;

  constructor(
    private readonly maxSpans: number,
    private readonly maxBytes: number,
  ) {}

  /** Spans that no request holds yet. */
  get waiting(): number {
    return this.queued;
  }

  /** Spans that are not delivered yet, also those under way. */
  get pending(): number {
    return this.spans;
  }

  /** False where there is no room: nothing of the tree was taken. */
  offer(tree: readonly FunctionSpan[]): boolean {
    const bytes = sizeOf(tree);
    if (this.spans + tree.length > this.maxSpans || this.bytes + bytes > this.maxBytes) {
      return false;
    }
    this.trees.push(tree);
    this.queued += tree.length;
    this.spans += tree.length;
    this.bytes += bytes;
    return true;
  }

  /** The next batch: whole trees as far as they fit, a larger tree in several batches. */
  take(): Batch | null {
    const spans: FunctionSpan[] = [];
    let bytes = 0;
    for (let tree = this.trees[this.next]; tree; tree = this.trees[this.next]) {
      if (spans.length > 0 && spans.length + tree.length > BATCH.spans) break;
      let taken = 0;
      for (const span of tree) {
        const size = sizeOfSpan(span);
        const full = spans.length === BATCH.spans || bytes + size > BATCH.bytes;
        if (full && spans.length > 0) break;
        spans.push(span);
        bytes += size;
        taken++;
      }
      if (taken < tree.length) {
        this.trees[this.next] = tree.slice(taken);
        break;
      }
      this.next++;
    }
    if (this.next > 1_024 || this.next === this.trees.length) {
      this.trees = this.trees.slice(this.next);
      this.next = 0;
    }
    if (spans.length === 0) return null;
    this.queued -= spans.length;
    return { spans, bytes, encoded: null, failedSince: null };
  }

  /** A batch is delivered or given up: its room is free. */
  done(batch: Batch): void {
    this.spans -= batch.spans.length;
    this.bytes -= batch.bytes;
  }
}

/** About what a span takes once encoded, without looking at each attribute. */
function sizeOfSpan(span: FunctionSpan): number {
  const file = span.attributes['code.file.path'];
  return 300 + 2 * span.name.length + (typeof file === 'string' ? file.length : 0);
}

function sizeOf(tree: readonly FunctionSpan[]): number {
  let bytes = 0;
  for (const span of tree) bytes += sizeOfSpan(span);
  return bytes;
}
