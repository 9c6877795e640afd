/** What is held of one tree: calls by the call of ours that they wait for. */
import { type Call, hasFailed, type OpenCall } from './call.js';
import { type Folded, foldSiblings } from './folds.js';
import { CallEnd, ParentKind } from './records.generated.js';

/** An open call that sent spans already name as their parent, so that it must be sent in the end. */
export interface Owed {
  open: OpenCall;
  /** When it was last known to be open. */
  endNs: bigint;
}

/** Deeper chains of open calls than the kernel keeps are a misread table. */
const MAX_CHAIN = 64;
/** Records of one tree that are held before any are folded. */
const FOLD_FROM = 2_048;

export class Tree {
  /** The outermost call, once its record has come. */
  outermost: Call | null = null;
  /** When the outermost call has come before the rest: how long that may take. */
  settleBy: bigint | null = null;
  /** Records that came, also those that went out again. */
  arrived = 0;
  /** Something of it was dropped. */
  torn = false;
  /** Its outermost call is known to be open: what hangs from an owed call goes out at once. */
  flowing = false;
  readonly owed = new Map<string, Owed>();
  /** Since when calls that are waited for were neither open nor here. */
  absentSince = new Map<string, bigint>();
  goneSince: bigint | null = null;
  /** So many records are worth another attempt at folding them. */
  foldAt = FOLD_FROM;

  /** Calls in order of arrival, until the first look at what is open. */
  private unsorted: Call[] = [];
  private readonly waiting = new Map<string, Call[]>();
  /** While it flows: calls that went out since the last look, by parent and function. */
  private readonly flown = new Map<string, number>();
  private count = 0;

  constructor(
    readonly id: string,
    readonly stack: bigint,
    readonly tgid: number,
    readonly goroutineId: number,
    /** Of one of its calls: they all fall under the same filter. */
    readonly functionIndex: number,
    public nextLook: bigint,
    /** Records held in all trees. */
    private readonly total: { held: number },
  ) {}

  get held(): number {
    return this.count;
  }

  get hasError(): boolean {
    return this.unsorted.some(hasFailed);
  }

  hold(call: Call): void {
    this.changeCount(1);
    if (this.flowing) this.file(call);
    else this.unsorted.push(call);
  }

  /** Folds what is held, as far as it has been repeated. */
  fold(bound: number): Folded | null {
    const held = this.flowing ? [...this.waiting.values()].flat() : this.unsorted;
    const folded = foldSiblings(held, bound);
    if (folded) {
      this.changeCount(-folded.gone.length);
      if (this.flowing) {
        this.waiting.clear();
        for (const call of folded.kept) this.file(call);
      } else this.unsorted = folded.kept;
    }
    this.foldAt = Math.max(FOLD_FROM, 2 * this.count);
    return folded;
  }

  /** Counts siblings that go out, until the next look. More than `bound` are to wait for it. */
  countFlown({ parentId, function: fn }: Call): number {
    const key = `${parentId} ${fn}`;
    const flown = (this.flown.get(key) ?? 0) + 1;
    this.flown.set(key, flown);
    return flown;
  }

  forgetFlown(): void {
    this.flown.clear();
  }

  /** Every call of ours that is named as a parent is here too. */
  isWhole(): boolean {
    const ids = new Set<string>();
    for (const call of this.unsorted) ids.add(call.spanId);
    return this.unsorted.every(
      (call) => call.parentKind !== ParentKind.CALL || ids.has(call.parentId),
    );
  }

  /** Files calls by what they wait for, now and from now on. Returns those that wait for nothing. */
  flow(): Call[] {
    const calls = this.unsorted;
    const free: Call[] = [];
    this.unsorted = [];
    this.flowing = true;
    for (const call of calls) {
      if (call.parentKind === ParentKind.CALL && call.spanId !== this.id) this.file(call);
      else free.push(call);
    }
    this.changeCount(-free.length);
    return free;
  }

  /** Takes out all that hangs from these, at any depth; the result begins with them. */
  withDescendants(calls: Call[]): Call[] {
    const taken = [...calls];
    for (let index = 0; index < taken.length; index++) {
      const call = taken[index];
      if (call) taken.push(...this.takeChildren(call.spanId));
    }
    return taken;
  }

  takeBeneath(id: string): Call[] {
    if (this.flowing) return this.withDescendants(this.takeChildren(id));
    const ids = new Set([id]);
    // Children may come before their parents, and after them.
    for (let size = 0; size !== ids.size;) {
      size = ids.size;
      for (const call of this.unsorted) if (ids.has(call.parentId)) ids.add(call.spanId);
    }
    const beneath = this.unsorted.filter((call) => ids.has(call.parentId));
    this.unsorted = this.unsorted.filter((call) => !ids.has(call.parentId));
    this.changeCount(-beneath.length);
    return beneath;
  }

  takeAll(): Call[] {
    const all = [...this.unsorted, ...[...this.waiting.values()].flat()];
    this.unsorted = [];
    this.waiting.clear();
    this.changeCount(-this.count);
    return all;
  }

  /** Calls that are waited for and are not held themselves. */
  missing(): string[] {
    const ids = new Set<string>();
    for (const calls of this.waiting.values()) for (const call of calls) ids.add(call.spanId);
    return [...this.waiting.keys()].filter((id) => !ids.has(id));
  }

  /**
   * Promises an open call and those around it. False where the chain ends in a call that is
   * neither open nor sent, so that the promise could not be kept.
   */
  owe(
    id: string,
    open: ReadonlyMap<string, OpenCall>,
    wasSent: (id: string) => boolean,
    nowNs: bigint,
  ): boolean {
    const chain: OpenCall[] = [];
    for (let next = id; !this.owed.has(next) && !wasSent(next);) {
      const call = open.get(next);
      if (!call || chain.length === MAX_CHAIN) return false;
      chain.push(call);
      if (call.parentKind !== ParentKind.CALL) break;
      next = call.parentId;
    }
    for (const call of chain) this.owed.set(call.spanId, { open: call, endNs: nowNs });
    return true;
  }

  /** Open calls last at least as long as what ran beneath them. */
  extendOwed(parentId: string, endNs: bigint): void {
    for (let next = parentId, left = MAX_CHAIN; left > 0; left--) {
      const owed = this.owed.get(next);
      if (!owed || owed.endNs >= endNs) return;
      owed.endNs = endNs;
      next = owed.open.parentId;
    }
  }

  /** A span in place of a record that never came. */
  substitute(owed: Owed): Call {
    return substituteFor(owed, this);
  }

  private changeCount(change: number): void {
    this.count += change;
    this.total.held += change;
  }

  private file(call: Call): void {
    const siblings = this.waiting.get(call.parentId);
    if (siblings) siblings.push(call);
    else this.waiting.set(call.parentId, [call]);
  }

  private takeChildren(id: string): Call[] {
    const children = this.waiting.get(id);
    if (!children) return [];
    this.waiting.delete(id);
    this.changeCount(-children.length);
    return children;
  }
}

/** A span in place of the record of a call whose end was not seen. */
export function substituteFor(
  { open, endNs }: Owed,
  tree: Pick<Tree, 'id' | 'tgid' | 'stack' | 'goroutineId'>,
): Call {
  return {
    ...open,
    treeId: tree.id,
    end: CallEnd.RETURNED,
    depth: 0,
    durationNs: Math.max(0, Number(endNs - open.startNs)),
    tgid: tree.tgid,
    tid: 0,
    stack: tree.stack,
    goroutineId: tree.goroutineId,
    treeSpans: 0,
    treeLost: 0,
    failed: false,
    values: null,
    waits: null,
    waitsKnown: false,
    fold: null,
    incomplete: true,
    unclosed: true,
  };
}
