/**
 * The last resort of a budget. The probes by which stacks are followed cannot be given up one by one;
 * where they alone cost more than a rule's whole budget, all its probes are taken from the executable
 * in which they cost most, and are back after a while. It decides; rule-governing.ts sees to it.
 */

/** How long they must have cost too much, in seconds, if nothing else is said. */
const PATIENCE_SECONDS = 1;
/** How long probes stay away, in seconds: at first, and at most. */
const FIRST_WAIT_SECONDS = 15;
const LAST_WAIT_SECONDS = 240;

interface Known {
  /** Second at which it comes back, or came back. */
  backAt: number;
  waitSeconds: number;
}

export class Suspensions<Of extends object> {
  private seconds = 0;
  /** For how long too much was spent of late. */
  private over = 0;
  private readonly away = new Set<Of>();
  private readonly known = new WeakMap<Of, Known>();
  /** So far. */
  count = 0;

  constructor(private readonly patience = PATIENCE_SECONDS) {}

  get suspended(): ReadonlySet<Of> {
    return this.away;
  }

  /** Time has gone on by `seconds`, in which bookkeeping cost too much or did not. */
  step(
    seconds: number,
    isOver: boolean,
    dearest: () => Of | null,
  ): { suspend: Of[]; resume: Of[] } {
    this.seconds += seconds;
    this.over = Math.max(0, this.over + (isOver ? seconds : -seconds));
    const resume = [...this.away].filter((each) => this.backAt(each) <= this.seconds);
    for (const each of resume) this.away.delete(each);
    const next = this.over > this.patience ? dearest() : null;
    if (!next || this.away.has(next)) return { suspend: [], resume };
    this.over = 0;
    this.count++;
    this.postpone(next);
    this.away.add(next);
    return { suspend: [next], resume };
  }

  /** How long it stays away, in seconds. */
  waitOf(each: Of): number {
    return this.known.get(each)?.waitSeconds ?? 0;
  }

  /** It is there no more. */
  keepOnly(present: readonly Of[]): void {
    for (const each of this.away) if (!present.includes(each)) this.away.delete(each);
  }

  private backAt(each: Of): number {
    return this.known.get(each)?.backAt ?? 0;
  }

  /** The sooner it was too dear again, the longer. */
  private postpone(each: Of): void {
    const before = this.known.get(each);
    const isSoon = before && this.seconds - before.backAt < before.waitSeconds;
    const waitSeconds = isSoon
      ? Math.min(2 * before.waitSeconds, LAST_WAIT_SECONDS)
      : FIRST_WAIT_SECONDS;
    this.known.set(each, { backAt: this.seconds + waitSeconds, waitSeconds });
  }
}
