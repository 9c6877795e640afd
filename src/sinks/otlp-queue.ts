/** Spans on their way to a collector: bounded, taken and refused by whole trees. */
import type { FunctionSpan, ProcessResource } from '../spans/span.js';
import { sizeOfResource, sizeOfSpan, sizeOfTree } from './otlp-size.js';
import type { EncodedBatch, OtlpWire } from './otlp-wire.js';

/** What is sent in one request. */
export interface Batch {
  readonly count: number;
  /** What it takes of the queue's room. */
  bytes: number;
  content: { spans: readonly FunctionSpan[] } | { encoded: EncodedBatch };
  /** Milliseconds of the clock at its first failure. */
  failedSince: number | null;
  /** Tries whose answer was missed. */
  uncertain: number;
}

/** Largest request. A collector refuses more than 4 MiB unless told otherwise. */
const BATCH = { spans: 2_048, bytes: 2 * 1024 * 1024 };

export class OtlpQueue {
  /** Batches to be sent again, oldest first. */
  private readonly returned: Batch[] = [];
  private trees: (readonly FunctionSpan[])[] = [];
  /** Trees before this one have been taken. */
  private next = 0;
  private queued = 0;
  private spans = 0;
  private held = 0;
  private abandoned = false;

  constructor(private readonly maxBytes: number) {}

  /** Batches that were given back. */
  get failed(): number {
    return this.returned.length;
  }

  /** Spans that are neither under way nor being written. */
  get waiting(): number {
    return this.queued;
  }

  /** Spans that are not delivered yet, also those under way. */
  get pending(): number {
    return this.spans;
  }

  /** Of all that is pending. */
  get bytes(): number {
    return this.held;
  }

  /** False where there is no room: nothing of the tree was taken. */
  offer(tree: readonly FunctionSpan[]): boolean {
    const bytes = sizeOfTree(tree);
    if (this.held + bytes > this.maxBytes) return false;
    this.trees.push(tree);
    this.queued += tree.length;
    this.spans += tree.length;
    this.held += bytes;
    return true;
  }

  /** The next batch, first what was given back. */
  take(): Batch | null {
    const batch = this.returned.shift() ?? this.gather();
    if (batch) this.queued -= batch.count;
    return batch;
  }

  /** To be taken again, before all others. */
  giveBack(batch: Batch): void {
    if (this.abandoned) return;
    this.returned.unshift(batch);
    this.queued += batch.count;
  }

  /** Its bytes take the place of its spans. */
  encoded(batch: Batch, wire: Pick<OtlpWire, 'encode'>): EncodedBatch {
    if ('encoded' in batch.content) return batch.content.encoded;
    const encoded = wire.encode(batch.content.spans);
    batch.content = { encoded };
    this.held += encoded.length - batch.bytes;
    batch.bytes = encoded.length;
    return encoded;
  }

  /** A batch is delivered, on disk or given up: its room is free. */
  done(batch: Batch): void {
    if (this.abandoned) return;
    this.spans -= batch.count;
    this.held -= batch.bytes;
  }

  /** Gives up all that is pending, and says how many spans that were. */
  abandon(): number {
    const { spans } = this;
    this.abandoned = true;
    this.returned.length = 0;
    this.trees = [];
    this.next = this.queued = this.spans = this.held = 0;
    return spans;
  }

  /** A new batch: whole trees as far as they fit, a larger tree in several batches. */
  private gather(): Batch | null {
    const spans: FunctionSpan[] = [];
    const resources = new Set<ProcessResource>();
    let bytes = 0;
    let shared = 0;
    for (let tree = this.trees[this.next]; tree; tree = this.trees[this.next]) {
      if (spans.length > 0 && spans.length + tree.length > BATCH.spans) break;
      let taken = 0;
      for (const span of tree) {
        const size = sizeOfSpan(span);
        const more = resources.has(span.resource) ? 0 : sizeOfResource(span.resource);
        const full = bytes + shared + size + more > BATCH.bytes;
        if (spans.length > 0 && (full || spans.length === BATCH.spans)) break;
        spans.push(span);
        resources.add(span.resource);
        bytes += size;
        shared += more;
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
    return { count: spans.length, bytes, content: { spans }, failedSince: null, uncertain: 0 };
  }
}
