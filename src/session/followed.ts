/** The processes of a session: which rule each falls under, from its start to its end. */
import { UnderspanError } from '../errors.js';
import type { ModulePlan } from '../plan/plan.js';
import type { Notice } from '../sinks/sink.js';
import type { ProcessRecord } from '../spans/call.js';
import { ProcessEvent } from '../spans/records.generated.js';
import type { Procfs } from '../targets/procfs.js';
import { isRunning, type Target, tryReadTarget } from '../targets/target.js';
import type { DetachReason, Executables, Probed } from './executables.js';
import type { Holds } from './holds.js';
import type { OpenGoroutine } from './open-calls.js';
import type { ProcessResources } from './resources.js';
import { type Decision, decide, type TraceRule } from './rule.js';
import { compare, type FollowedProcess } from './rule-change.js';
import type { Session } from './session.js';

export interface FollowedOptions {
  session: Session;
  executables: Executables;
  resources: ProcessResources;
  holds: Holds;
  procfs: Procfs;
  rules: readonly TraceRule[];
  /** Processes that start later and fall under a rule are targets too. */
  watchesExecs: boolean;
  idleMs: number;
  onNotice: (notice: Notice, rule: TraceRule) => void;
  /** All records of a process that has exited have come; its open calls are still in the table. */
  onExited: (pid: number, endNs: bigint, open: readonly OpenGoroutine[]) => Promise<void>;
  /** The last process has ended, and no other can come. */
  onEmpty: () => void;
}

export class Followed {
  private readonly targets = new Map<number, FollowedProcess>();
  /** Processes of which it is not known yet which rule they fall under. */
  private readonly undecided = new Set<number>();
  /** Executables that are being planned, and links that are being closed. */
  private readonly underWay = new Set<Promise<unknown>>();
  private rules: readonly TraceRule[];
  /** How long the probes of an executable stay that nothing runs, in ms. */
  idleMs: number;
  /** Events are handled one after the other. */
  private queue: Promise<void> = Promise.resolve();
  private closed = false;
  private lostEvents = 0;

  constructor(private readonly options: FollowedOptions) {
    this.rules = options.rules;
    this.idleMs = options.idleMs;
    this.hold();
  }

  private hold(): void {
    this.options.holds.set(this.rules.flatMap((rule) => rule.hold));
  }

  get count(): number {
    return this.targets.size;
  }

  /** Processes that are looked at, or whose probes are being planned. */
  get pending(): number {
    return this.underWay.size + this.undecided.size;
  }

  targetOf(pid: number): Target | null {
    return this.targets.get(pid)?.target ?? null;
  }

  /** Attaches to a process by a plan made before; it may be held before its exec. */
  async attach(target: Target, rule: TraceRule, plan: ModulePlan): Promise<void> {
    const attached = this.queue.then(async () => {
      const whole = rule.reach(target) === 'all';
      try {
        const probed = await this.options.executables.need(rule, target, whole, plan);
        if (probed) await this.link(target, rule, probed);
      } catch (error) {
        throw this.orEnded(target, error);
      }
    });
    this.queue = attached.catch(() => undefined);
    return attached;
  }

  /** Follows a process that has nothing to trace yet, for what it may start. */
  watch(target: Target, rule: TraceRule | null): void {
    this.targets.set(target.pid, { target, rule, probed: null });
    this.options.session.addTarget(target.pid, 0, 0, rule?.followForks ?? false);
  }

  /** Nothing is attached any more. */
  close(): void {
    this.closed = true;
    this.options.holds.close();
  }

  /** Resolves when all that has been asked for so far is done. */
  async settled(): Promise<void> {
    for (;;) {
      await this.queue;
      if (this.underWay.size === 0) return;
      await Promise.all(this.underWay);
    }
  }

  /**
   * To be called once a second. A full ring loses events: whoever has ended has exited, and others
   * may have come.
   */
  check(): void {
    const lost = this.options.session.lostEvents();
    if (lost !== this.lostEvents) {
      this.lostEvents = lost;
      this.rescan();
    }
    for (const { target } of this.targets.values()) {
      if (!isRunning(target, this.options.procfs)) {
        this.handle(eventOf(ProcessEvent.EXITED, target.pid));
      }
    }
    this.reconsider();
    this.tidy();
  }

  /** Looks again at processes of which something was not known. */
  reconsider(): void {
    for (const pid of this.undecided) this.enqueue(eventOf(ProcessEvent.EXECUTED, pid));
  }

  /** Takes back probes that are not needed, or that somebody waits for. */
  tidy(): void {
    for (const { probed, why } of this.options.executables.due(this.idleMs)) {
      this.queue = this.queue.then(() => this.remove(probed, why)).catch(() => undefined);
    }
  }

  private async remove(probed: Probed, why: DetachReason): Promise<void> {
    // Meanwhile a process may have begun.
    if (why === 'idle' && probed.pids.size > 0) return;
    const pids = [...probed.pids];
    if (probed.rule.hold.length > 0) this.options.holds.forgetPasses();
    await this.options.executables.remove(probed, why);
    for (const pid of pids) {
      const known = this.targets.get(pid);
      if (known?.probed === probed) known.probed = null;
    }
  }

  /** Takes in the processes whose beginning was not seen, as between selecting and attaching. */
  rescan(): void {
    for (const pid of this.options.procfs.pids()) {
      if (pid === process.pid) continue;
      const known = this.targets.get(pid);
      if (known ? this.hasExecuted(known.target) : this.mayFit(pid)) {
        this.enqueue(eventOf(ProcessEvent.EXECUTED, pid));
      }
    }
  }

  /**
   * From now on these rules hold. What falls under the same rule as before, the same object, is not
   * touched; what does not is planned first, so that it is untraced for a moment only.
   */
  setRules(rules: readonly TraceRule[]): Promise<void> {
    const changed = this.queue.then(() => this.changeRules(rules));
    this.queue = changed.catch(() => undefined);
    return changed;
  }

  private async changeRules(rules: readonly TraceRule[]): Promise<void> {
    const { executables } = this.options;
    const before = this.rules;
    this.rules = rules;
    this.hold();
    const { moves, gone, undecided } = compare(rules, this.targets, executables.all);
    for (const pid of undecided) this.undecided.add(pid);
    await Promise.all(
      moves.map(async ({ target, decision }) => {
        if (decision && executables.find(decision.rule, target.fileId) === null) {
          await executables.need(decision.rule, target, decision.whole);
        }
      }),
    );
    await Promise.all([...gone].map((probed) => this.remove(probed, 'reload')));
    for (const { target, decision } of moves) await this.move(target, decision);
    for (const rule of before) if (!rules.includes(rule)) await executables.forget(rule);
    this.rescan();
  }

  private async move(target: Target, decision: Decision | null): Promise<void> {
    const { session, onExited } = this.options;
    const { pid } = target;
    const known = this.targets.get(pid);
    if (!known) return;
    if (known.probed) {
      await this.options.executables.unlink(known.probed, pid);
      await session.drain();
      const open = await session.openCallsOf(pid);
      await onExited(pid, process.hrtime.bigint(), open);
      session.forget(open);
    }
    if (decision) await this.take(target, decision);
    else this.forget(pid);
  }

  private hasExecuted(target: Target): boolean {
    const now = tryReadTarget(target.pid, this.options.procfs);
    if (!now || now.fileId === target.fileId) return false;
    this.options.resources.keepFor(target.pid, now.fileId);
    return true;
  }

  private mayFit(pid: number): boolean {
    if (this.options.watchesExecs && this.rules.some((rule) => rule.fits(pid) !== 'no'))
      return true;
    const child = tryReadTarget(pid, this.options.procfs);
    return child !== null && this.followChild(child);
  }

  /** A child of a process that is followed is followed as well. */
  private followChild(child: Target): boolean {
    try {
      const parent = this.targets.get(this.options.procfs.stat(child.pid).parent);
      if (!parent?.rule?.followForks || !parent.rule.followExecs) return false;
      this.targets.set(child.pid, { target: child, rule: parent.rule, probed: null });
      return true;
    } catch {
      return false;
    }
  }

  handle(event: ProcessRecord): void {
    if (event.event === ProcessEvent.EXECUTED) {
      this.options.holds.note(event);
      // At once: what the new program says of itself may come with the next record.
      this.options.resources.delete(event.tgid);
    }
    if (this.closed && event.event !== ProcessEvent.EXITED) return;
    this.enqueue(event);
  }

  private enqueue(event: ProcessRecord): void {
    this.queue = this.queue
      .then(() => this.apply(event))
      .catch((error: unknown) => this.failed(event.tgid, error));
  }

  private failed(pid: number, error: unknown): void {
    this.options.holds.release(pid, false);
    const known = this.targets.get(pid);
    const rule = known?.rule ?? this.rules[0];
    if (!rule || (known && !isRunning(known.target, this.options.procfs))) return;
    this.options.onNotice(
      {
        code: 'PROCESS_NOT_FOLLOWED',
        message: `process ${pid} could not be followed: ${error instanceof Error ? error.message : String(error)}`,
      },
      rule,
    );
  }

  private async apply(event: ProcessRecord): Promise<void> {
    switch (event.event) {
      case ProcessEvent.FORKED: {
        const child = tryReadTarget(event.tgid, this.options.procfs);
        const parent = this.targets.get(event.parentTgid);
        // The kernel has made it a target like its parent.
        const rule = parent?.rule ?? null;
        if (child) this.targets.set(event.tgid, { target: child, rule, probed: null });
        return;
      }
      case ProcessEvent.EXECUTED:
        return this.executed(event.tgid);
      case ProcessEvent.EXITED:
        return this.exited(event.tgid, event.timeNs);
    }
  }

  private async executed(pid: number): Promise<void> {
    const target = tryReadTarget(pid, this.options.procfs);
    const known = this.targets.get(pid);
    this.undecided.delete(pid);
    if (!target) return this.options.holds.release(pid, false);
    const decision = this.decide(target, known ?? null);
    if (decision === 'unknown') {
      this.undecided.add(pid);
      return this.options.holds.release(pid, false);
    }
    const { executables } = this.options;
    const found = decision && executables.find(decision.rule, target.fileId);
    if (known?.probed && known.probed !== found) this.unlink(known.probed, pid);
    if (!decision) {
      this.forget(pid);
      return this.options.holds.release(pid, this.neverHolds(target));
    }
    if (found) return this.take(target, decision);
    this.watch(target, decision.rule);
    // Reading an executable takes long: others go on meanwhile.
    this.background(
      executables.need(decision.rule, target, decision.whole).then((probed) => {
        this.queue = this.queue
          .then(async () => {
            if (this.isCurrent(target)) await this.take(target, decision);
            else if (probed) await this.arm(probed);
          })
          .catch((error: unknown) => this.failed(pid, error))
          .finally(() => this.options.holds.release(pid, false));
      }),
      pid,
    );
  }

  /** The process is gone; later ones are traced from their first call. */
  private async arm(probed: Probed): Promise<void> {
    if (!probed.whole || probed.attachment.isAttached(null)) return;
    await this.options.executables.arm(probed);
    this.options.onNotice(
      { code: 'PROCESS_FOLLOWED', message: `attached to ${describe(probed)} for its next process` },
      probed.rule,
    );
  }

  private isCurrent(target: Target): boolean {
    const known = this.targets.get(target.pid)?.target;
    return known?.fileId === target.fileId && known.startTime === target.startTime;
  }

  /** No rule that holds can be meant for processes of this executable. */
  private neverHolds(target: Target): boolean {
    return this.rules.every((rule) => rule.hold.length === 0 || rule.reach(target) === 'none');
  }

  private decide(target: Target, known: FollowedProcess | null): Decision | 'unknown' | null {
    const decision = this.options.watchesExecs ? decide(this.rules, target) : null;
    if (decision) return decision;
    const rule = known?.rule;
    return rule?.followExecs ? { rule, whole: false } : null;
  }

  /** Links a process to probes that are there, or says why there are none. */
  private async take(target: Target, { rule, whole }: Decision): Promise<void> {
    const { executables, procfs, onNotice } = this.options;
    const probed = await executables.need(rule, target, whole);
    if (probed) {
      // Where one attachment serves all processes, later ones need not wait for anything.
      const pass = probed.whole || this.neverHolds(target);
      const isNew = probed.pids.size === 0 && !probed.attachment.isAttached(target.pid);
      await this.link(target, rule, probed);
      this.options.holds.release(target.pid, pass);
      if (isNew) {
        onNotice(
          {
            code: 'PROCESS_FOLLOWED',
            message: `attached to ${describe(probed)} in process ${target.pid}`,
          },
          rule,
        );
      }
      return;
    }
    if (rule.followExecs) this.watch(target, rule);
    else this.forget(target.pid);
    // Nothing in it can be traced.
    this.options.holds.release(target.pid, true);
    const problem = executables.problem(rule, target.fileId);
    // Of a process that ended too soon nothing is known of its executable.
    if (!problem || !isRunning(target, procfs)) return;
    // What is followed for the sake of its parent need not have what was asked for.
    if (problem.code === 'NOT_GO' || (problem.code === 'NO_FUNCTION_MATCHES' && rule.followExecs)) {
      return;
    }
    const { code, message, hint, pattern } = problem;
    onNotice({ code, message, ...(hint ? { hint } : {}), ...(pattern ? { pattern } : {}) }, rule);
  }

  private async link(target: Target, rule: TraceRule, probed: Probed): Promise<void> {
    this.targets.set(target.pid, { target, rule, probed });
    await this.options.executables.link(probed, target);
  }

  /** What went wrong is of no interest where the process is gone. */
  private orEnded(target: Target, error: unknown): unknown {
    if (isRunning(target, this.options.procfs)) return error;
    return new UnderspanError(
      'not-found',
      'PROCESS_ENDED',
      `process ${target.pid} (${target.comm}) ended while probes were being attached`,
      undefined,
      { cause: error },
    );
  }

  private async exited(pid: number, endNs: bigint): Promise<void> {
    const { session, onExited, onEmpty, resources } = this.options;
    // A child may have been gone before it was read; the kernel knows it all the same.
    const known = this.targets.get(pid);
    this.targets.delete(pid);
    this.undecided.delete(pid);
    this.options.holds.release(pid, false);
    await session.drain();
    const open = await session.openCallsOf(pid);
    await onExited(pid, endNs, open);
    session.forget(open);
    session.removeTarget(pid);
    if (known?.probed) this.unlink(known.probed, pid);
    resources.delete(pid);
    if (known && this.targets.size === 0) onEmpty();
  }

  /** It falls under no rule. */
  private forget(pid: number): void {
    if (!this.targets.delete(pid)) return;
    this.options.session.removeTarget(pid);
    this.options.resources.delete(pid);
  }

  /** The kernel takes its time to close links, and nobody waits for it. */
  private unlink(probed: Probed, pid: number): void {
    this.background(this.options.executables.unlink(probed, pid), pid);
  }

  private background(work: Promise<unknown>, pid: number): void {
    const done = work
      .catch((error: unknown) => this.failed(pid, error))
      .finally(() => this.underWay.delete(done));
    this.underWay.add(done);
  }
}

const describe = ({ attachment, exe }: Probed): string =>
  `${attachment.plan.functions.length} functions of ${exe}`;

function eventOf(event: number, tgid: number): ProcessRecord {
  const timeNs = process.hrtime.bigint();
  return { timeNs, event, tgid, parentTgid: 0, device: 0n, inode: 0n, held: false };
}
