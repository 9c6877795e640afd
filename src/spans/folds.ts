/**
 * Folds repeated siblings: of many calls of one function beneath one parent some stay as they are,
 * and one span stands for the rest. What ran beneath those folds away with them.
 */
import { type Call, type CallWaits, type Fold, hasFailed } from './call.js';

export interface Folded {
  kept: Call[];
  /** No span is made of these. */
  gone: Call[];
  /** Of calls beneath which something may be yet to come, which is gone too. */
  late: string[];
}

/** Spans of one function beneath one parent, where nobody says. */
export const FOLD = 20;
/** Of those that do not come first the slowest are kept, if the bound leaves room. */
const SLOWEST = 3;

/**
 * `bound`: spans of one function beneath one parent; as many more may be of calls that failed, or
 * beneath which one did. 0 folds nothing. Null where all stays as it is.
 */
export function foldSiblings(calls: readonly Call[], bound: number): Folded | null {
  if (bound === 0 || calls.length <= bound) return null;
  const children = groups(calls, ({ parentId }) => parentId);
  const crowds: Call[][] = [];
  for (const siblings of children.values()) {
    if (siblings.length <= bound) continue;
    for (const alike of groups(siblings, (call) => call.function).values()) {
      if (alike.length > bound) crowds.push(alike);
    }
  }
  if (crowds.length === 0) return null;
  const folding = new Folding(children, withFailures(calls), bound);
  for (const crowd of crowds) folding.fold(crowd);
  const { gone, late } = folding;
  if (gone.size === 0) return null;
  return { kept: calls.filter((call) => !gone.has(call)), gone: [...gone], late };
}

class Folding {
  readonly gone = new Set<Call>();
  readonly late: string[] = [];

  constructor(
    private readonly children: ReadonlyMap<string, readonly Call[]>,
    /** Calls that failed, and those around them. */
    private readonly failures: ReadonlySet<Call>,
    private readonly bound: number,
  ) {}

  /** Calls in the order of their ends. */
  fold(crowd: readonly Call[]): void {
    let standing: Call | null = null;
    let failures = 0;
    const plain: Call[] = [];
    for (const call of crowd) {
      // Its parent has been folded away, and so have all of these.
      if (this.gone.has(call)) return;
      if (call.fold) standing ??= call;
      else if (this.failures.has(call) && failures < this.bound) failures++;
      else if (call.spanId !== call.treeId) plain.push(call);
    }
    if (plain.length + (standing ? 1 : 0) <= this.bound) return;
    const slowest = Math.min(SLOWEST, this.bound - 1);
    const rest = plain.slice(this.bound - 1 - slowest);
    const kept = new Set(slowestOf(rest, slowest));
    // Two folds of one function were made at different times, before they were held together.
    for (const call of crowd) if (call.fold && call !== standing) rest.push(call);
    for (const call of rest) {
      if (kept.has(call)) continue;
      if (standing) {
        this.merge(standing, call);
        this.remove(call);
      } else {
        this.removeBeneath(call);
        standing = call;
        call.fold = foldOf(call, this.failures.has(call));
        call.values = null;
      }
    }
    if (standing?.fold) standing.failed = standing.fold.failures > 0;
  }

  private merge(standing: Call, call: Call): void {
    const { fold } = standing;
    if (!fold) return;
    const other = call.fold ?? foldOf(call, this.failures.has(call));
    fold.count += other.count;
    fold.totalNs += other.totalNs;
    fold.slowestNs = Math.max(fold.slowestNs, other.slowestNs);
    fold.fastestNs = Math.min(fold.fastestNs, other.fastestNs);
    fold.failures += other.failures;
    const end = endOf(standing) > endOf(call) ? endOf(standing) : endOf(call);
    if (call.startNs < standing.startNs) standing.startNs = call.startNs;
    standing.durationNs = Number(end - standing.startNs);
    standing.descendants += call.descendants;
    standing.incomplete ||= call.incomplete;
    standing.waits = addWaits(standing.waits, call.waits);
    standing.waitsKnown &&= call.waitsKnown;
  }

  /** Returns how many calls ran in it, with itself. */
  private remove(call: Call): number {
    this.gone.add(call);
    return (call.fold?.count ?? 1) + this.removeBeneath(call);
  }

  private removeBeneath(call: Call): number {
    let beneath = call.fold ? call.descendants : 0;
    for (const child of this.children.get(call.spanId) ?? []) {
      if (!this.gone.has(child)) beneath += this.remove(child);
    }
    if (beneath < call.descendants) this.late.push(call.spanId);
    return beneath;
  }
}

const endOf = ({ startNs, durationNs }: Call): bigint => startNs + BigInt(durationNs);

function foldOf({ durationNs }: Call, failed: boolean): Fold {
  return {
    count: 1,
    totalNs: durationNs,
    slowestNs: durationNs,
    fastestNs: durationNs,
    failures: failed ? 1 : 0,
  };
}

function slowestOf(calls: readonly Call[], count: number): Call[] {
  const slowest: Call[] = [];
  for (const call of calls) {
    const last = slowest[count - 1];
    if (count === 0 || (last && last.durationNs >= call.durationNs)) continue;
    slowest.push(call);
    slowest.sort((a, b) => b.durationNs - a.durationNs);
    slowest.length = Math.min(slowest.length, count);
  }
  return slowest;
}

function withFailures(calls: readonly Call[]): Set<Call> {
  const failed = new Set(calls.filter(hasFailed));
  if (failed.size === 0) return failed;
  const byId = new Map(calls.map((call) => [call.spanId, call]));
  for (const call of [...failed]) {
    let around = byId.get(call.parentId);
    while (around && !failed.has(around)) {
      failed.add(around);
      around = byId.get(around.parentId);
    }
  }
  return failed;
}

function groups<Key>(calls: readonly Call[], keyOf: (call: Call) => Key): Map<Key, Call[]> {
  const groups = new Map<Key, Call[]>();
  for (const call of calls) {
    const key = keyOf(call);
    const group = groups.get(key);
    if (group) group.push(call);
    else groups.set(key, [call]);
  }
  return groups;
}

/** Of calls that one span stands for: all that they waited and allocated; the long waits of the first. */
function addWaits(sum: CallWaits | null, waits: CallWaits | null): CallWaits | null {
  if (!waits) return sum;
  if (!sum) return { ...waits, told: [] };
  return {
    ns: sum.ns.map((ns, kind) => ns + (waits.ns[kind] ?? 0)),
    allocated: sum.allocated + waits.allocated,
    allocations: sum.allocations + waits.allocations,
    complete: sum.complete && waits.complete,
    told: sum.told,
  };
}
