/**
 * Keeps trees whole: a span goes out only if every call of ours above it goes out as well.
 *
 * A tree's records come in any order, usually children first. The outermost call's record says
 * how many were sent, so a tree is held until all have come and then released at once. A tree
 * whose outermost call runs on (a worker's loop, main.main) is not held for ever: the kernel's
 * table says which calls are open, these are then owed, and what hangs from them goes out.
 */
import { type Call, hasFailed, type OpenCall, type OpenStack } from './call.js';
import { ParentKind } from './records.generated.js';
import { RecentIds } from './recent-ids.js';
import type { SpanCondition } from './span-condition.js';
import { substituteFor, Tree } from './tree.js';

/**
 * torn: a call above it was lost, or there was no room to hold it.
 * filtered: its tree was neither slow enough nor held an error.
 * folded: another span stands for it, or for the call that it ran beneath.
 * undecided: the program's span around its tree did not end in time, or was not seen.
 */
export type TreeLoss = 'torn' | 'filtered' | 'folded' | 'undecided';

/** Which trees are wanted. */
export interface TreeFilter {
  /** Only trees whose outermost call took longer; null: all. */
  slowerThanNs: number | null;
  /** Only trees that hold an error; with slowerThanNs, one of both is enough. */
  errorsOnly: boolean;
  /** Shorter calls have no records. */
  minDurationNs: number;
  /** Only trees beneath such a span of the program's own; null: all. */
  span: SpanCondition | null;
  /** Spans of one function beneath one parent; the others are folded into one. 0: any number. */
  fold: number;
}

export interface TreeKeeperOptions {
  /** By function; all calls of a process have the same one. */
  filterOf: (functionIndex: number) => TreeFilter;
  /** What is open on a goroutine or thread, outermost first; null: it has ended. */
  openCalls: (stack: bigint, tgid: number) => readonly OpenCall[] | null;
  /** Resolves when all records that had been sent at the time of the call have been added. */
  drained: () => Promise<void>;
  /** Spans that go out together; sinks take or refuse them as one. */
  release: (tree: readonly Call[]) => void;
  lost: (reason: TreeLoss, functionIndex: number, count: number) => void;
  /** How long a tree is held before anybody asks what is open. */
  holdNs?: bigint;
  maxHeld?: number;
  maxHeldOfTree?: number;
  /** CLOCK_MONOTONIC. */
  now?: () => bigint;
}

const REMEMBERED_IDS = 50_000;
/** Each is a system call. */
const LOOKS_A_TICK = 2_000;
/** Trees of which nothing is held are looked at less often. */
const IDLE_LOOK = 10n;

export class TreeKeeper {
  private readonly trees = new Map<string, Tree>();
  private readonly sent = new RecentIds(REMEMBERED_IDS);
  /** Calls and trees that were given up; a record that comes all the same is too late. */
  private readonly closed = new RecentIds(REMEMBERED_IDS);
  /** Calls that were folded away while something beneath them may have been yet to come. */
  private readonly folded = new RecentIds(REMEMBERED_IDS);
  private readonly wasSent = (id: string): boolean => this.sent.has(id);
  private readonly holdNs: bigint;
  private readonly maxHeld: number;
  private readonly maxHeldOfTree: number;
  private readonly now: () => bigint;
  private readonly total = { held: 0 };
  private ticking: Promise<void> | null = null;

  constructor(private readonly options: TreeKeeperOptions) {
    this.holdNs = options.holdNs ?? 1_000_000_000n;
    this.maxHeld = options.maxHeld ?? 200_000;
    this.maxHeldOfTree = options.maxHeldOfTree ?? 100_000;
    this.now = options.now ?? ((): bigint => process.hrtime.bigint());
  }

  /** Records that are held. */
  get held(): number {
    return this.total.held;
  }

  /** Some tree waits, to be looked at by tick(). */
  get waits(): boolean {
    return this.trees.size > 0;
  }

  add(call: Call): void {
    const outermost = call.spanId === call.treeId;
    if (outermost && call.treeSpans <= 1) {
      if (this.closed.has(call.spanId)) return this.lose('torn', [call]);
      call.incomplete = call.treeLost > 0;
      if (this.wanted(call.function, call.durationNs, hasFailed(call)))
        this.options.release([call]);
      else this.lose('filtered', [call]);
      return;
    }
    if (this.closed.has(call.spanId) || this.closed.has(call.treeId)) {
      return this.lose('torn', [call]);
    }
    const tree = this.treeOf(call);
    tree.arrived++;
    if (outermost) tree.outermost = call;
    if (this.folded.has(call.parentId)) this.foldLate(tree, call);
    else if (tree.flowing) this.flow(tree, call);
    else tree.hold(call);
    if (tree.held >= tree.foldAt) this.fold(tree);
    if (tree.outermost) {
      if (tree.arrived >= tree.outermost.treeSpans) this.settle(tree);
      else tree.settleBy ??= this.now() + this.holdNs;
    }
    this.keepWithinBounds(tree);
  }

  /** To be called a few times a second. */
  tick(): Promise<void> {
    this.ticking ??= this.lookAtLateTrees().finally(() => (this.ticking = null));
    return this.ticking;
  }

  /** No more records come, or none of these trees. Owed calls end at `endNs`. */
  async finish(
    endNs: bigint,
    isOver: (tree: Pick<Tree, 'tgid' | 'functionIndex'>) => boolean = () => true,
  ): Promise<void> {
    await this.ticking;
    for (const tree of [...this.trees.values()]) {
      if (isOver(tree)) this.finishTree(tree, endNs);
    }
  }

  /**
   * The same for a process that has exited. Its open calls must still be known, and `open` are
   * they: they end with it.
   */
  async finishProcess(tgid: number, endNs: bigint, open: readonly OpenStack[]): Promise<void> {
    await this.finish(endNs, (tree) => tree.tgid === tgid);
    for (const stack of open) this.sendOpen(tgid, stack, endNs);
  }

  /** Ends open calls, as far as what they hang from has been sent. */
  private sendOpen(tgid: number, { stack, goroutineId, calls }: OpenStack, endNs: bigint): void {
    const ended: Call[] = [];
    const ids = new Set<string>();
    const goes = (id: string): boolean => ids.has(id) || this.sent.has(id);
    for (const open of calls) {
      const durationNs = Number(endNs - open.startNs);
      const { minDurationNs } = this.options.filterOf(open.function);
      if (goes(open.spanId) || durationNs < minDurationNs) continue;
      const above = open.parentKind === ParentKind.CALL ? open.parentId : open.treeId;
      const isWanted =
        above === open.spanId ? this.wanted(open.function, durationNs, false) : goes(above);
      if (!isWanted) continue;
      ids.add(open.spanId);
      ended.push(substituteFor({ open, endNs }, { id: open.treeId, tgid, stack, goroutineId }));
    }
    this.send(null, ended);
  }

  private finishTree(tree: Tree, endNs: bigint): void {
    if (tree.outermost) {
      this.settle(tree);
      return;
    }
    this.fold(tree);
    const open = byId(this.options.openCalls(tree.stack, tree.tgid));
    const outermost = open.get(tree.id);
    const durationNs = outermost ? Number(endNs - outermost.startNs) : 0;
    if (outermost && !this.wanted(tree.functionIndex, durationNs, tree.hasError)) {
      this.trees.delete(tree.id);
      this.lose('filtered', tree.takeAll());
      return;
    }
    if (outermost) {
      this.startFlow(tree);
      for (const id of tree.missing()) {
        if (tree.owe(id, open, this.wasSent, endNs)) this.send(tree, tree.takeBeneath(id));
      }
      for (const id of tree.owed.keys()) if (open.has(id)) tree.extendOwed(id, endNs);
    }
    this.giveUp(tree);
  }

  private treeOf(call: Call): Tree {
    const known = this.trees.get(call.treeId);
    if (known) return known;
    const nextLook = this.now() + this.holdNs;
    const tree = new Tree(
      call.treeId,
      call.stack,
      call.tgid,
      call.goroutineId,
      call.function,
      nextLook,
      this.total,
    );
    this.trees.set(tree.id, tree);
    return tree;
  }

  /** A record of a tree whose outermost call runs on. */
  private flow(tree: Tree, call: Call): void {
    if (call === tree.outermost) return; // settle() sends it
    const awaited = tree.owed.delete(call.spanId);
    const free =
      awaited ||
      call.parentKind !== ParentKind.CALL ||
      tree.owed.has(call.parentId) ||
      this.sent.has(call.parentId);
    if (!free || (!awaited && this.isCrowded(tree, call))) return tree.hold(call);
    this.send(tree, tree.withDescendants([call]));
  }

  /** So many of its kind have gone out since the last look that it waits for the next. */
  private isCrowded(tree: Tree, call: Call): boolean {
    const { fold } = this.options.filterOf(tree.functionIndex);
    if (fold === 0 || !tree.owed.has(call.parentId)) return false;
    const flown = tree.countFlown(call);
    if (flown === fold + 1) {
      const look = this.now() + this.holdNs;
      if (look < tree.nextLook) tree.nextLook = look;
    }
    return flown > fold;
  }

  private fold(tree: Tree): void {
    const { fold } = this.options.filterOf(tree.functionIndex);
    const folded = tree.fold(fold);
    if (!folded) return;
    for (const id of folded.late) this.folded.add(id);
    this.lose('folded', folded.gone);
  }

  /** It ran beneath a call that has been folded away. */
  private foldLate(tree: Tree, call: Call): void {
    const gone = [call, ...tree.takeBeneath(call.spanId)];
    for (const { descendants, spanId } of gone) if (descendants > 0) this.folded.add(spanId);
    this.lose('folded', gone);
  }

  /** The outermost call has come, and all that will come. */
  private settle(tree: Tree): void {
    const { outermost } = tree;
    if (!outermost) return;
    this.trees.delete(tree.id);
    this.fold(tree);
    const missed = tree.torn || outermost.treeLost > 0 || tree.arrived < outermost.treeSpans;
    if (!tree.flowing) {
      if (!this.wanted(tree.functionIndex, outermost.durationNs, tree.hasError)) {
        return this.lose('filtered', tree.takeAll());
      }
      if (!missed && tree.isWhole()) return this.options.release(tree.takeAll());
    }
    tree.owed.delete(outermost.spanId);
    const free = tree.flow().filter((call) => call !== outermost);
    const ready = tree.withDescendants([outermost, ...free]);
    const stuck = tree.takeAll();
    const substitutes = this.substitutes(tree);
    outermost.incomplete = missed || stuck.length > 0 || substitutes.length > 0;
    this.lose('torn', stuck);
    this.closed.add(tree.id);
    this.send(tree, [...ready, ...substitutes]);
  }

  /** The outermost call's record will not come. */
  private giveUp(tree: Tree): void {
    this.trees.delete(tree.id);
    this.closed.add(tree.id);
    // Nothing of a tree that cannot be judged passes a filter.
    if (tree.flowing || !this.isSelective(tree)) {
      const free = tree.flow();
      for (const call of free) call.incomplete = true;
      this.send(tree, tree.withDescendants(free));
    }
    this.lose('torn', tree.takeAll());
    this.send(tree, this.substitutes(tree));
  }

  private async lookAtLateTrees(): Promise<void> {
    const now = this.now();
    const overdue: Tree[] = [];
    const looks: { tree: Tree; open: ReadonlyMap<string, OpenCall> }[] = [];
    for (const tree of this.trees.values()) {
      if (tree.settleBy !== null) {
        if (tree.settleBy <= now) overdue.push(tree);
      } else if (tree.nextLook <= now && looks.length < LOOKS_A_TICK) {
        looks.push({ tree, open: byId(this.options.openCalls(tree.stack, tree.tgid)) });
      }
    }
    if (looks.length + overdue.length === 0) return;
    // What had ended before its table was read has been added after this.
    await this.options.drained();
    for (const tree of overdue) if (this.trees.get(tree.id) === tree) this.settle(tree);
    for (const { tree, open } of looks) {
      if (this.trees.get(tree.id) === tree && !tree.outermost) this.look(tree, open, now);
    }
  }

  private look(tree: Tree, open: ReadonlyMap<string, OpenCall>, now: bigint): void {
    tree.nextLook = now + this.holdNs;
    if (!open.has(tree.id)) {
      tree.goneSince ??= now;
      if (now - tree.goneSince >= this.holdNs) this.giveUp(tree);
      return;
    }
    tree.goneSince = null;
    if (this.isSelective(tree)) return;
    this.fold(tree);
    this.startFlow(tree);
    tree.forgetFlown();
    const before = tree.absentSince;
    tree.absentSince = new Map();
    // Neither open nor here for as long as a record may take.
    const isLost = (id: string): boolean => {
      const since = before.get(id) ?? now;
      tree.absentSince.set(id, since);
      return now - since >= this.holdNs;
    };
    for (const id of tree.missing()) {
      if (tree.owe(id, open, this.wasSent, now)) {
        this.send(tree, tree.takeBeneath(id));
      } else if (isLost(id)) {
        tree.torn = true;
        this.lose('torn', tree.takeBeneath(id));
      }
    }
    for (const [id, owed] of tree.owed) {
      if (open.has(id)) {
        tree.extendOwed(id, now);
      } else if (isLost(id)) {
        tree.torn = true;
        tree.owed.delete(id);
        this.closed.add(id);
        this.send(tree, [tree.substitute(owed)]);
      }
    }
    if (tree.held === 0) tree.nextLook = now + IDLE_LOOK * this.holdNs;
  }

  private startFlow(tree: Tree): void {
    this.send(tree, tree.withDescendants(tree.flow()));
  }

  /** Spans for owed calls whose records did not come. */
  private substitutes(tree: Tree): Call[] {
    const calls = [...tree.owed.values()].map((owed) => tree.substitute(owed));
    for (const call of calls) this.closed.add(call.spanId);
    tree.owed.clear();
    return calls;
  }

  private keepWithinBounds(tree: Tree): void {
    if (tree.held > this.maxHeldOfTree) this.shed(tree);
    if (this.total.held <= this.maxHeld) return;
    // Well below the bound, so that not every record searches for the oldest tree.
    const enough = this.maxHeld * 0.9;
    for (const oldest of this.trees.values()) {
      if (this.total.held <= enough) return;
      if (oldest.held > 0) this.shed(oldest);
    }
  }

  /** Makes room. What is owed stays owed. */
  private shed(tree: Tree): void {
    if (tree.outermost) return this.settle(tree);
    this.lose('torn', tree.takeAll());
    tree.torn = true;
    if (tree.owed.size === 0) this.trees.delete(tree.id);
  }

  private send(tree: Tree | null, calls: readonly Call[]): void {
    if (calls.length === 0) return;
    for (const call of calls) {
      this.sent.add(call.spanId);
      if (tree && tree.owed.size > 0) {
        tree.extendOwed(call.parentId, call.startNs + BigInt(call.durationNs));
      }
    }
    this.options.release(calls);
  }

  private isSelective(tree: Tree): boolean {
    const { slowerThanNs, errorsOnly, span } = this.options.filterOf(tree.functionIndex);
    return slowerThanNs !== null || errorsOnly || span !== null;
  }

  private wanted(functionIndex: number, durationNs: number, hasError: boolean): boolean {
    const { slowerThanNs, errorsOnly } = this.options.filterOf(functionIndex);
    if (slowerThanNs === null && !errorsOnly) return true;
    return (slowerThanNs !== null && durationNs > slowerThanNs) || (errorsOnly && hasError);
  }

  private lose(reason: TreeLoss, calls: readonly Call[]): void {
    const counts = new Map<number, number>();
    for (const call of calls) counts.set(call.function, (counts.get(call.function) ?? 0) + 1);
    for (const [index, count] of counts) this.options.lost(reason, index, count);
  }
}

function byId(open: readonly OpenCall[] | null): ReadonlyMap<string, OpenCall> {
  return new Map((open ?? []).map((call) => [call.spanId, call]));
}
