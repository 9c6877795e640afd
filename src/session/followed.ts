/** Which rule each process of a session falls under, from its start to its end. */
import type { ModulePlan } from '../plan/plan.js';
import type { ProcessRecord } from '../spans/call.js';
import { ProcessEvent } from '../spans/records.generated.js';
import { isRunning, type Target, tryReadTarget } from '../targets/target.js';
import type { Blamed } from './crash-watch.js';
import type { Holds } from './holds.js';
import type { ModuleFile, ProbedModule } from './probed-module.js';
import { Processes, type ProcessesOptions } from './processes.js';
import { Removals } from './removals.js';
import { type Decision, decide, hasWhole, neverHolds, type TraceRule } from './rule.js';
import { compare, type FollowedProcess } from './rule-change.js';
import { Untold } from './untold.js';
import { WorkQueue } from './work-queue.js';

export interface FollowedOptions extends ProcessesOptions {
  holds: Holds;
  rules: readonly TraceRule[];
  /** Processes that start later and fall under a rule are targets too. */
  watchesExecs: boolean;
  idleMs: number;
  /** The last process has ended, and no other can come. */
  onEmpty: () => void;
}

const RECENT_NS = 10_000_000_000n;

export class Followed {
  private readonly processes: Processes;
  private readonly untold: Untold;
  private readonly removals: Removals;
  /** Processes of which it is not known yet which rule they fall under. */
  private readonly undecided = new Set<number>();
  /** Of processes that have executed something in the last seconds, by pid. */
  private readonly execs = new Map<number, ProcessRecord>();
  /** Processes that were gone before they could be read. */
  private readonly unseen = new Set<number>();
  private rules: readonly TraceRule[];
  /** How long the probes of a module stay that no process runs, in ms. */
  idleMs: number;
  /** Events, one after the other; beside them modules are planned, and links closed. */
  private readonly queue = new WorkQueue();
  private closed = false;
  private lostEvents = 0;

  constructor(private readonly options: FollowedOptions) {
    this.processes = new Processes(options);
    const { processes, queue } = this;
    this.untold = new Untold({ ...options, processes });
    this.removals = new Removals({ ...options, processes, queue });
    this.rules = options.rules;
    this.idleMs = options.idleMs;
    this.hold();
  }

  private hold(): void {
    this.options.holds.set(this.rules.flatMap((rule) => rule.hold));
  }

  get count(): number {
    return this.processes.all.size;
  }

  targetOf(pid: number): Target | null {
    return this.processes.get(pid)?.target ?? null;
  }

  /** Attaches to a process by a plan made before; it may be held before its exec. */
  attach(
    target: Target,
    rule: TraceRule,
    plan: ModulePlan,
    libraries: readonly ModuleFile[] = [],
  ): Promise<void> {
    return this.queue.add(() => this.processes.attach(target, rule, plan, libraries));
  }

  /** Follows a process that has nothing to trace yet, for what it may start. */
  watch(target: Target, rule: TraceRule | null): void {
    this.processes.watch(target, rule);
  }

  /** Nothing is attached any more. */
  close(): void {
    this.closed = true;
    this.removals.close();
    this.options.holds.close();
  }

  /** Resolves when all that has been asked for so far is done. */
  settled(): Promise<void> {
    return this.queue.settled();
  }

  /**
   * To be called once a second. A full ring loses events: whoever has ended has exited, and others
   * may have come.
   */
  check(): void {
    const lost = this.options.session.lostEvents();
    const anew = lost !== this.lostEvents;
    this.lostEvents = lost;
    if (anew) this.rescan();
    const old = process.hrtime.bigint() - RECENT_NS;
    for (const [pid, { timeNs }] of this.execs) if (timeNs < old) this.execs.delete(pid);
    for (const target of this.untold.ended()) this.ended(target);
    this.reconsider();
    if (this.options.modules.barren.pardon()) this.takeUp();
    this.tidy();
    if (anew || this.unseen.size > 0) this.sweep();
  }

  /** Its exit may yet be told, and by then its pid may be another's. */
  private ended(target: Target): void {
    this.enqueue(target.pid, async () => {
      if (this.targetOf(target.pid) === target) {
        await this.exited(target.pid, process.hrtime.bigint());
      }
    });
  }

  private sweep(): void {
    const unseen = [...this.unseen];
    this.unseen.clear();
    void this.queue.add(() => this.processes.sweep(unseen)).catch(() => undefined);
  }

  /** Looks again at processes of which something was not known. */
  private reconsider(): void {
    for (const pid of this.undecided) this.enqueue(pid, () => this.executed(pid));
  }

  /** What was not attached for some time may be again. */
  private takeUp(): void {
    // Who was let pass since nothing could be attached.
    void this.options.holds.forgetPasses();
    for (const [pid, { probed }] of this.processes.all) {
      this.enqueue(pid, () => (probed ? this.processes.takeLibraries(pid) : this.executed(pid)));
    }
    this.rescan();
  }

  /** Takes back probes that are not needed, or that somebody waits for. */
  tidy(): void {
    this.removals.tidy(this.idleMs);
  }

  /** Takes in the processes whose beginning was not seen, as between selecting and attaching. */
  rescan(): void {
    const mayFit = (pid: number): boolean =>
      this.options.watchesExecs && this.rules.some((rule) => rule.fits(pid) !== 'no');
    for (const pid of this.untold.begun(mayFit)) this.enqueue(pid, () => this.executed(pid));
  }

  /** Takes probes back for a while; see Modules. */
  suspend(probed: ProbedModule): Promise<void> {
    return this.unlessClosed(() => this.options.modules.suspend(probed));
  }

  resume(probed: ProbedModule): Promise<void> {
    return this.unlessClosed(() => this.options.modules.resume(probed));
  }

  private unlessClosed(work: () => Promise<void>): Promise<void> {
    return this.queue.add(() => (this.closed ? Promise.resolve() : work()));
  }

  /**
   * From now on these rules hold. What falls under the same rule as before, the same object, is not
   * touched; what does not is planned first, so that it is untraced for a moment only.
   */
  setRules(rules: readonly TraceRule[]): Promise<void> {
    return this.queue.add(() => this.changeRules(rules));
  }

  private async changeRules(rules: readonly TraceRule[]): Promise<void> {
    if (this.closed) return;
    const { modules } = this.options;
    const before = this.rules;
    this.rules = rules;
    this.hold();
    const { moves, gone, undecided } = compare(rules, this.processes.all, modules.all);
    for (const pid of undecided) this.undecided.add(pid);
    await Promise.all(
      moves.map(({ target, decision }) =>
        this.attempt(target.pid, async () => {
          if (!decision || modules.find(decision.rule, target.fileId)) return;
          await modules.need(decision.rule, target, decision.whole);
        }),
      ),
    );
    await Promise.all([...gone].map((probed) => this.removals.remove(probed, 'reload')));
    for (const { target, decision } of moves) {
      await this.attempt(target.pid, () => this.move(target, decision));
    }
    for (const rule of before) if (!rules.includes(rule)) await modules.forget(rule);
    this.rescan();
  }

  private async move(target: Target, decision: Decision | null): Promise<void> {
    if (this.closed || this.targetOf(target.pid) !== target) return;
    await this.processes.leave(target.pid);
    if (decision) await this.take(target, decision);
    else this.processes.forget(target.pid);
  }

  handle(event: ProcessRecord): void {
    const { tgid, timeNs } = event;
    if (event.event === ProcessEvent.EXECUTED) {
      this.options.holds.note(event);
      this.execs.set(tgid, event);
      // At once: what the new program says of itself may come with the next record.
      this.options.resources.delete(tgid);
    }
    if (this.closed && event.event !== ProcessEvent.EXITED) return;
    switch (event.event) {
      case ProcessEvent.FORKED:
        return this.enqueue(tgid, () => {
          const child = tryReadTarget(tgid, this.options.procfs);
          if (child) return this.processes.fork(child, this.processes.get(event.parentTgid));
        });
      case ProcessEvent.MAPPED:
        return this.enqueue(tgid, () => this.processes.takeLibraries(tgid));
      case ProcessEvent.EXECUTED:
        return this.enqueue(tgid, () => this.executed(tgid));
      case ProcessEvent.EXITED:
        return this.enqueue(tgid, () => this.exited(tgid, timeNs, event.exitCode));
    }
  }

  private enqueue(pid: number, work: () => Promise<void> | void): void {
    void this.queue.add(() => this.attempt(pid, work));
  }

  /** What goes wrong with one process is told, and nobody else's affair. Never rejects. */
  private async attempt(pid: number, work: () => Promise<unknown> | void): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.failed(pid, error);
    }
  }

  private failed(pid: number, error: unknown): void {
    this.options.holds.release(pid, false);
    const known = this.processes.get(pid);
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

  private async executed(pid: number): Promise<void> {
    const { modules, holds, procfs } = this.options;
    this.undecided.delete(pid);
    const target = this.closed ? null : tryReadTarget(pid, procfs);
    if (!target) {
      if ([...modules.all].some(({ whole }) => whole)) this.unseen.add(pid);
      return holds.release(pid, false);
    }
    const known = this.processes.get(pid);
    const decision = this.decide(target, known);
    if (decision === 'unknown') {
      this.undecided.add(pid);
      return holds.release(pid, false);
    }
    const found = decision && modules.find(decision.rule, target.fileId);
    const gone: ProbedModule[] = [];
    if (known?.probed && known.probed !== found) gone.push(known.probed);
    if (known && (known.target.fileId !== target.fileId || known.rule !== decision?.rule)) {
      gone.push(...known.others);
    }
    // Until they are closed, links of the process's own see what it runs now: nothing is to be seen twice.
    await Promise.all(gone.map((probed) => this.unlink(probed, pid)));
    if (!decision) {
      this.processes.forget(pid);
      return holds.release(pid, neverHolds(this.rules, target));
    }
    if (found) return this.take(target, decision);
    this.processes.watch(target, decision.rule);
    // Reading a module takes long: others go on meanwhile.
    this.queue.beside(this.attempt(pid, () => this.prepare(target, decision)));
  }

  private async prepare(target: Target, { rule, whole }: Decision): Promise<void> {
    const probed = await this.options.modules.need(rule, target, whole);
    await this.queue.add(() => this.prepared(target, rule, probed));
  }

  /** The rules may be others by now, and the process may be gone. */
  private async prepared(
    target: Target,
    rule: TraceRule,
    probed: ProbedModule | null,
  ): Promise<void> {
    if (this.closed) return;
    const { modules, holds } = this.options;
    const there = modules.find(rule, target.fileId) === probed ? probed : null;
    if (!this.rules.includes(rule)) {
      // It was on its way when its rule went.
      if (there) await this.removals.remove(there, 'reload');
      return modules.forget(rule);
    }
    if (there?.whole && !hasWhole(this.rules, rule, target))
      await this.removals.remove(there, 'reload');
    const { pid } = target;
    const isCurrent = this.processes.isCurrent(target);
    const decision = isCurrent ? this.decide(target, this.processes.get(pid)) : null;
    if (decision === 'unknown') this.undecided.add(pid);
    else if (decision) return this.take(target, decision);
    else {
      // Or it is about to end, and nothing can be told of it any more.
      if (isCurrent && isRunning(target, this.options.procfs)) this.processes.forget(pid);
      if (there && modules.find(rule, target.fileId) === there) await this.processes.arm(there);
    }
    // Not what the pid may have executed since.
    if (isCurrent || !this.processes.get(pid)) holds.release(pid, false);
  }

  private async take(target: Target, decision: Decision): Promise<void> {
    const { modules, holds } = this.options;
    const probed = await this.processes.take(target, decision);
    // Where one attachment serves all processes, or none can, later ones need not wait.
    const pass = probed
      ? probed.whole || neverHolds(this.rules, target)
      : modules.barren.problem(decision.rule, target.fileId) !== null;
    holds.release(target.pid, pass);
  }

  private decide(target: Target, known: FollowedProcess | null): Decision | 'unknown' | null {
    const decision = this.options.watchesExecs ? decide(this.rules, target) : null;
    if (decision && decision !== 'unknown') return decision;
    const rule = known?.rule;
    return rule?.followExecs ? { rule, whole: false } : decision;
  }

  private async exited(pid: number, endNs: bigint, exitCode = 0): Promise<void> {
    const wasKnown = this.processes.get(pid) !== null;
    this.undecided.delete(pid);
    this.options.holds.release(pid, false);
    const blamed = this.options.modules.ended({ pid, endNs, exitCode }, this.execs.get(pid));
    this.execs.delete(pid);
    // The kernel takes its time to close links, and nobody waits for it.
    for (const probed of await this.processes.exited(pid, endNs)) {
      this.queue.beside(this.unlink(probed, pid));
    }
    for (const each of blamed) await this.giveUp(each);
    if (wasKnown && this.count === 0) this.options.onEmpty();
  }

  /**
   * Where processes have it from their first instruction on, it is taken back from all of them, and
   * told of when the next process is safe.
   */
  private async giveUp({ probed, error: { message, hint } }: Blamed): Promise<void> {
    const { rule } = probed;
    if (probed.shared) await this.removals.remove(probed, 'crash');
    this.options.onNotice({ code: 'TARGET_CRASHED', message, ...(hint ? { hint } : {}) }, rule);
  }

  private unlink(probed: ProbedModule, pid: number): Promise<void> {
    return this.attempt(pid, () => this.options.modules.links.unlink(probed, pid));
  }
}
