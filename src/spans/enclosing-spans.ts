/**
 * The program's own spans around what hangs from one of them, in the same process, from the inside
 * out. What a span says is known only when it ends: until then, whatever asks for it waits.
 */
import type { ProgramSpanRecord } from './call.js';

/** What hangs from a span of the program's own. */
export interface Hanging {
  readonly traceId: string;
  /** Id of that span. */
  readonly parentId: string;
  readonly tgid: number;
}

export interface EnclosingSpansOptions<Item extends Hanging> {
  /** One around it has ended, and so have those within; true: it needs no other. */
  visit: (item: Item, span: ProgramSpanRecord) => boolean;
  /** All around it have been visited. */
  visited: (item: Item) => void;
  /** One around it has not ended in time. */
  givenUp: (item: Item) => void;
  /** About what it takes in memory; asked when it begins to wait. */
  bytesOf: (item: Item) => number;
  /** How long anything waits. */
  waitNs?: bigint;
  maxBytes?: number;
  /** Ended spans that are remembered. */
  maxEnded?: number;
  /** CLOCK_MONOTONIC. */
  now?: () => bigint;
}

interface Waiting<Item> {
  item: Item;
  bytes: number;
  until: bigint;
  /** The span that it waits for. */
  key: string;
}

/** Spans around each other in one process. */
const MAX_CHAIN = 100;

export class EnclosingSpans<Item extends Hanging> {
  /** The oldest first. */
  private readonly ended = new Map<string, ProgramSpanRecord>();
  /** The oldest first. */
  private readonly waiting = new Set<Waiting<Item>>();
  /** The same, by the span that they wait for. */
  private readonly waitingFor = new Map<string, Set<Waiting<Item>>>();
  private readonly waitNs: bigint;
  private readonly maxBytes: number;
  private readonly maxEnded: number;
  private readonly now: () => bigint;
  private bytes = 0;

  constructor(private readonly options: EnclosingSpansOptions<Item>) {
    this.waitNs = options.waitNs ?? 60_000_000_000n;
    this.maxBytes = options.maxBytes ?? 64 << 20;
    this.maxEnded = options.maxEnded ?? 20_000;
    this.now = options.now ?? ((): bigint => process.hrtime.bigint());
  }

  get waits(): boolean {
    return this.waiting.size > 0;
  }

  add(item: Item): void {
    this.walk(item, keyOf(item.traceId, item.parentId), null);
  }

  spanEnded(span: ProgramSpanRecord): void {
    const key = keyOf(span.traceId, span.spanId);
    this.ended.set(key, span);
    if (this.ended.size > this.maxEnded) {
      for (const oldest of this.ended.keys()) {
        this.ended.delete(oldest);
        break;
      }
    }
    for (const waiting of [...(this.waitingFor.get(key) ?? [])]) {
      if (!this.waiting.has(waiting)) continue;
      this.take(waiting);
      this.walk(waiting.item, key, waiting);
    }
  }

  /** Gives up what has waited for too long; to be called a few times a second. */
  tick(): void {
    const now = this.now();
    for (const waiting of this.waiting) if (waiting.until <= now) this.giveUp(waiting);
  }

  /** No more spans end, or none around these. */
  finish(isOver: (item: Item) => boolean = () => true): void {
    for (const waiting of [...this.waiting]) if (isOver(waiting.item)) this.giveUp(waiting);
  }

  /** `from`: the innermost span that it has not visited; `before`: as it has waited so far. */
  private walk(item: Item, from: string, before: Waiting<Item> | null): void {
    let key = from;
    for (let hops = 0; hops < MAX_CHAIN; hops++) {
      const span = this.ended.get(key);
      if (!span) return this.wait(item, key, before);
      if (span.tgid !== item.tgid) break;
      if (this.options.visit(item, span)) return;
      if (span.parentId === null || span.parentRemote) break;
      key = keyOf(item.traceId, span.parentId);
    }
    this.options.visited(item);
  }

  private wait(item: Item, key: string, before: Waiting<Item> | null): void {
    const waiting = before ?? {
      ...{ item, key, bytes: this.options.bytesOf(item) },
      until: this.now() + this.waitNs,
    };
    waiting.key = key;
    this.waiting.add(waiting);
    this.bytes += waiting.bytes;
    const others = this.waitingFor.get(key);
    if (others) others.add(waiting);
    else this.waitingFor.set(key, new Set([waiting]));
    for (const oldest of this.waiting) {
      if (this.bytes <= this.maxBytes) return;
      this.giveUp(oldest);
    }
  }

  private take(waiting: Waiting<Item>): void {
    this.waiting.delete(waiting);
    this.bytes -= waiting.bytes;
    const others = this.waitingFor.get(waiting.key);
    others?.delete(waiting);
    if (others?.size === 0) this.waitingFor.delete(waiting.key);
  }

  private giveUp(waiting: Waiting<Item>): void {
    this.take(waiting);
    this.options.givenUp(waiting.item);
  }
}

const keyOf = (traceId: string, spanId: string): string => traceId + spanId;
