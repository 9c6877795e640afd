/**
 * Holds whole trees until the program's own spans around them have ended, since only then is known
 * whether one of them is wanted: the span that the outermost call hangs from, or one that encloses
 * it in the same process.
 */
import type { Call, ProgramSpanRecord } from './call.js';
import { EnclosingSpans, type EnclosingSpansOptions, type Hanging } from './enclosing-spans.js';
import { ParentKind } from './records.generated.js';
import type { SpanCondition } from './span-condition.js';
import type { TreeLoss } from './trees.js';

export interface SpanGateOptions extends Pick<
  EnclosingSpansOptions<Tree>,
  'waitNs' | 'maxBytes' | 'maxEnded' | 'now'
> {
  /** By function; null: the tree passes. */
  conditionOf: (functionIndex: number) => SpanCondition | null;
  release: (tree: readonly Call[]) => void;
  lost: (reason: TreeLoss, calls: readonly Call[]) => void;
}

interface Tree extends Hanging {
  outermost: Call;
  calls: readonly Call[];
  condition: SpanCondition;
  /** Of a span around it was not to be read what decides. */
  unknown: boolean;
}

/** About what a call takes in memory, without its values. */
const CALL_BYTES = 600;

export class SpanGate {
  private readonly around: EnclosingSpans<Tree>;

  constructor(private readonly options: SpanGateOptions) {
    this.around = new EnclosingSpans({
      ...options,
      visit: (tree, span) => this.decides(tree, span),
      visited: ({ unknown, calls }) => options.lost(unknown ? 'undecided' : 'filtered', calls),
      givenUp: ({ calls }) => options.lost('undecided', calls),
      bytesOf: ({ calls }) => own(calls),
    });
  }

  get waits(): boolean {
    return this.around.waits;
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
    const { traceId, parentId, tgid } = outermost;
    this.around.add({ traceId, parentId, tgid, outermost, condition, calls, unknown: false });
  }

  spanEnded(span: ProgramSpanRecord): void {
    this.around.spanEnded(span);
  }

  /** Gives up what has waited for too long; to be called a few times a second. */
  tick(): void {
    this.around.tick();
  }

  /** No more spans end, or none of these trees'. */
  finish(isOver: (call: Call) => boolean = () => true): void {
    this.around.finish(({ outermost }) => isOver(outermost));
  }

  private decides(tree: Tree, span: ProgramSpanRecord): boolean {
    const holds = tree.condition.holds(span);
    if (holds === true) this.options.release(tree.calls);
    tree.unknown ||= holds === null;
    return holds === true;
  }
}

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
