/**
 * Holds whole trees until the program's own spans around them have ended, since only then is known
 * whether one of them is wanted: the span that the outermost call hangs from, or one that encloses
 * it in the same process.
 */
import type { Call, ProgramSpanRecord } from './call.js';
import { ParentKind } from './records.generated.js';
import type { SpanCondition } from './span-condition.js';
import type { TreeLoss } from './trees.js';

export interface SpanGateOptions {
  /** By function; null: the tree passes. */
  conditionOf: (functionIndex: number) => SpanCondition | null;
  release: (tree: readonly Call[]) => void;
  lost: (reason: TreeLoss, calls: readonly Call[]) => void;
  /** How long a tree waits. */
  waitNs?: bigint;
  maxBytes?: number;
  /** Ended spans that are remembered. */
  maxEnded?: number;
  /** CLOCK_MONOTONIC. */
  now?: () => bigint;
}

interface Tree {
  outermost: Call;
  calls: readonly Call[];
  condition: SpanCondition;
  /** Of a span around it was not to be read what decides. */
  unknown: boolean;
}

interface Waiting extends Tree {
  bytes: number;
  until: bigint;
  /** The span that it waits for. */
  key: string;
}

/** About what a call takes in memory, without its values. */
const CALL_BYTES = 600;
/** Spans around each other in one process. */
const MAX_CHAIN = 100;

export class SpanGate {
  /** The oldest first. */
  private readonly ended = new Map<string, ProgramSpanRecord>();
  /** By the outermost call, the oldest first. */
  private readonly waiting = new Map<string, Waiting>();
  /** The same, by the span that they wait for. */
  private readonly waitingFor = new Map<string, Set<string>>();
  private readonly waitNs: bigint;
  private readonly maxBytes: number;
  private readonly maxEnded: number;
  private readonly now: () => bigint;
  private bytes = 0;

  constructor(private readonly options: SpanGateOptions) {
    this.waitNs = options.waitNs ?? 60_000_000_000n;
    this.maxBytes = options.maxBytes ?? 64 << 20;
    this.maxEnded = options.maxEnded ?? 20_000;
    this.now = options.now ?? ((): bigint => process.hrtime.bigint());
  }

  get waits(): boolean {
    return this.waiting.size > 0;
  }

  /** A tree, or as much of one as goes out at once. */
  add(calls: readonly Call[]): void {
    const [first] = calls;
    const condition = first ? this.options.conditionOf(first.function) : null;
    if (!condition) return this.options.release(calls);
    const outermost = calls.find(({ spanId, treeId }) => spanId === treeId);
    // Its outermost call runs on while tracing ends, and with it the span around.
    if (!outermost) return this.options.lost('undecided', calls);
    if (outermost.parentKind !== ParentKind.PROGRAM) return this.options.lost('filtered', calls);
    const tree: Tree = { outermost, condition, calls, unknown: false };
    this.decide(tree, keyOf(outermost.traceId, outermost.parentId));
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
    const ids = this.waitingFor.get(key);
    for (const id of [...(ids ?? [])]) {
      const tree = this.waiting.get(id);
      if (tree) this.decide(this.take(tree), key);
    }
  }

  /** Gives up what has waited for too long; to be called a few times a second. */
  tick(): void {
    const now = this.now();
    for (const tree of this.waiting.values()) if (tree.until <= now) this.giveUp(tree);
  }

  /** No more spans end, or none of these trees'. */
  finish(isOver: (call: Call) => boolean = () => true): void {
    for (const tree of [...this.waiting.values()]) {
      if (isOver(tree.outermost)) this.giveUp(tree);
    }
  }

  /** `from`: the innermost span around it that may be the one. */
  private decide(tree: Tree | Waiting, from: string): void {
    const { tgid, traceId } = tree.outermost;
    let key = from;
    for (let hops = 0; hops < MAX_CHAIN; hops++) {
      const span = this.ended.get(key);
      if (!span) return this.wait(tree, key);
      if (span.tgid !== tgid) break;
      const holds = tree.condition.holds(span);
      if (holds === true) return this.options.release(tree.calls);
      tree.unknown ||= holds === null;
      if (span.parentId === null || span.parentRemote) break;
      key = keyOf(traceId, span.parentId);
    }
    this.options.lost(tree.unknown ? 'undecided' : 'filtered', tree.calls);
  }

  private wait(tree: Tree | Waiting, key: string): void {
    const id = tree.outermost.spanId;
    const waiting: Waiting =
      'until' in tree
        ? tree
        : { ...tree, until: this.now() + this.waitNs, bytes: own(tree.calls), key };
    waiting.key = key;
    this.waiting.set(id, waiting);
    this.bytes += waiting.bytes;
    const ids = this.waitingFor.get(key);
    if (ids) ids.add(id);
    else this.waitingFor.set(key, new Set([id]));
    for (const oldest of this.waiting.values()) {
      if (this.bytes <= this.maxBytes) return;
      this.giveUp(oldest);
    }
  }

  private take(tree: Waiting): Waiting {
    const { spanId } = tree.outermost;
    this.waiting.delete(spanId);
    this.bytes -= tree.bytes;
    const ids = this.waitingFor.get(tree.key);
    ids?.delete(spanId);
    if (ids?.size === 0) this.waitingFor.delete(tree.key);
    return tree;
  }

  private giveUp(tree: Waiting): void {
    this.take(tree);
    this.options.lost('undecided', tree.calls);
  }
}

const keyOf = (traceId: string, spanId: string): string => traceId + spanId;

/** Frees the batches that values lie in; returns about how much memory these calls then take. */
function own(calls: readonly Call[]): number {
  let bytes = 0;
  for (const call of calls) {
    bytes += CALL_BYTES;
    for (const value of call.values ?? []) {
      value.data = Buffer.from(value.data);
      bytes += value.data.length;
    }
  }
  return bytes;
}
