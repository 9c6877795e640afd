/** The processes of a session, from the first that was selected to their last child. */
import type { Selection } from '../engine.js';
import { UnderspanError } from '../errors.js';
import type { Native } from '../native/native.js';
import type { ModulePlan } from '../plan/plan.js';
import { planModule, type PlanRequest } from '../plan/plan-module.js';
import type { Notice } from '../sinks/sink.js';
import type { ProcessRecord } from '../spans/call.js';
import { ProcessEvent } from '../spans/records.generated.js';
import { moduleBias } from '../targets/mapped.js';
import { fits } from '../targets/select.js';
import { isRunning, readTarget, type Target } from '../targets/target.js';
import { Procfs } from '../targets/procfs.js';
import type { Attachment } from './attachment.js';
import { kernelError } from './kernel-errors.js';
import type { OpenGoroutine } from './open-calls.js';
import { ProcessResources } from './resources.js';
import type { Session } from './session.js';

export interface FollowedOptions {
  native: Native;
  session: Session;
  selection: Selection;
  request: PlanRequest;
  followForks: boolean;
  /** Processes that start later and fit the selection are targets too. */
  watchesExecs: boolean;
  /** All processes of an executable are targets, so that one attachment serves them all. */
  wholeExecutables: boolean;
  onNotice: (notice: Notice) => void;
  /** A module has been loaded: its functions have numbers now. */
  onModule: (plan: ModulePlan, firstFunction: number) => void;
  /** All records of a process that has exited have come; its open calls are still in the table. */
  onExited: (pid: number, endNs: bigint, open: readonly OpenGoroutine[]) => Promise<void>;
  /** A process has exited with calls open. */
  onOpen: (open: OpenGoroutine[]) => void;
  /** The last process has ended, and no other can come. */
  onEmpty: () => void;
}

export class Followed {
  private readonly procfs = new Procfs();
  private readonly targets = new Map<number, Target>();
  /** By identity of the executable. */
  private readonly attachments = new Map<string, Attachment>();
  /** Executables that were looked at and have nothing to trace. */
  private readonly barren = new Set<string>();
  /** Events are handled one after the other. */
  private queue: Promise<void> = Promise.resolve();
  private closed = false;
  private lostEvents = 0;

  readonly resources: ProcessResources;

  constructor(private readonly options: FollowedOptions) {
    this.resources = new ProcessResources({
      procfs: this.procfs,
      target: (pid) => tryRead(pid, this.procfs) ?? this.targets.get(pid) ?? null,
      plan: (fileId) => this.attachments.get(fileId)?.plan ?? null,
      onNotice: options.onNotice,
    });
  }

  get count(): number {
    return this.targets.size;
  }

  /** Attaches to a process by a plan made before; it may be held before its exec. */
  attach(target: Target, plan: ModulePlan): Promise<void> {
    const attached = this.queue.then(() => this.attachNow(target, plan));
    this.queue = attached.catch(() => undefined);
    return attached;
  }

  private async attachNow(target: Target, plan: ModulePlan): Promise<void> {
    let attachment = this.attachments.get(target.fileId);
    if (!attachment) {
      attachment = await this.options.session.add(plan);
      this.options.onModule(plan, attachment.firstFunction);
      this.attachments.set(target.fileId, attachment);
    }
    this.watch(target, attachment);
    const pid = this.options.wholeExecutables || !this.scoped ? null : target.pid;
    if (!attachment.isAttached(target.pid)) await this.link(attachment, target, pid);
  }

  private async link(attachment: Attachment, target: Target, pid: number | null): Promise<void> {
    try {
      await attachment.attach(target.file, pid);
    } catch (error) {
      if (isRunning(target, this.procfs)) throw kernelError(error);
      throw new UnderspanError(
        'not-found',
        'PROCESS_ENDED',
        `process ${target.pid} (${target.comm}) ended while probes were being attached`,
        undefined,
        { cause: error },
      );
    }
  }

  /** Follows a process that has nothing to trace yet, for what it may start. */
  watch(target: Target, attachment?: Attachment): void {
    this.targets.set(target.pid, target);
    this.options.session.addTarget(target.pid, attachment ? biasOf(target, attachment) : 0);
  }

  /** Nothing is attached any more. */
  close(): void {
    this.closed = true;
  }

  /** A full ring loses events: whoever has ended has exited, and others may have come. */
  check(): void {
    const lost = this.options.session.lostEvents();
    if (lost !== this.lostEvents) {
      this.lostEvents = lost;
      this.rescan();
    }
    for (const target of this.targets.values()) {
      if (!isRunning(target, this.procfs)) this.handle(eventOf(ProcessEvent.EXITED, target.pid));
    }
  }

  /** Takes in the processes whose beginning was not seen, as between selecting and attaching. */
  rescan(): void {
    for (const pid of this.procfs.pids()) {
      if (pid === process.pid) continue;
      const known = this.targets.get(pid);
      if (known ? this.hasExecuted(known) : this.isWanted(pid)) {
        this.enqueue(eventOf(ProcessEvent.EXECUTED, pid));
      }
    }
  }

  private hasExecuted(target: Target): boolean {
    const now = tryRead(target.pid, this.procfs);
    if (!now || now.fileId === target.fileId) return false;
    this.resources.keepFor(target.pid, now.fileId);
    return true;
  }

  private isWanted(pid: number): boolean {
    const { followForks, watchesExecs, selection } = this.options;
    if (watchesExecs && fits(selection, pid, this.procfs)) return true;
    if (!followForks) return false;
    try {
      const child = this.targets.has(this.procfs.stat(pid).parent) && readTarget(pid, this.procfs);
      if (child) this.targets.set(pid, child);
      return child !== false;
    } catch {
      return false;
    }
  }

  handle(event: ProcessRecord): void {
    if (this.closed && event.event !== ProcessEvent.EXITED) return;
    // At once: what the new program says of itself may come with the next record.
    if (event.event === ProcessEvent.EXECUTED) this.resources.delete(event.tgid);
    this.enqueue(event);
  }

  private enqueue(event: ProcessRecord): void {
    this.queue = this.queue
      .then(() => this.apply(event))
      .catch((error: unknown) => {
        this.options.onNotice({
          code: 'PROCESS_NOT_FOLLOWED',
          message: `process ${event.tgid} could not be followed: ${error instanceof Error ? error.message : String(error)}`,
        });
      });
  }

  /** Resolves when the events so far have been handled. */
  settled(): Promise<void> {
    return this.queue;
  }

  private get scoped(): boolean {
    return this.options.session.features.uprobeMulti;
  }

  private async apply(event: ProcessRecord): Promise<void> {
    switch (event.event) {
      case ProcessEvent.FORKED: {
        const child = tryRead(event.tgid, this.procfs);
        if (child) this.targets.set(event.tgid, child);
        return;
      }
      case ProcessEvent.EXECUTED:
        return this.executed(event.tgid);
      case ProcessEvent.EXITED:
        return this.exited(event.tgid, event.timeNs);
    }
  }

  private async executed(pid: number): Promise<void> {
    const known = this.targets.has(pid);
    if (!known && !fits(this.options.selection, pid, this.procfs)) return;
    const target = tryRead(pid, this.procfs);
    if (!target) return;
    this.resources.delete(pid);
    const attachment = this.attachments.get(target.fileId);
    if (attachment) {
      this.watch(target, attachment);
      if (!attachment.isAttached(pid)) await this.link(attachment, target, pid);
      return;
    }
    this.watch(target);
    if (this.barren.has(target.fileId)) return;
    const { native, session, request, onNotice } = this.options;
    try {
      const plan = await planModule(native, target.file, target.exe, {
        ...request,
        maxFunctions: session.room,
      });
      await this.attachNow(target, plan);
      onNotice({
        code: 'PROCESS_FOLLOWED',
        message: `attached to ${plan.functions.length} functions of ${target.exe} in process ${pid}`,
      });
    } catch (error) {
      if (!(error instanceof UnderspanError)) throw error;
      // Of a process that ended too soon nothing is known of its executable.
      if (!isRunning(target, this.procfs)) return;
      this.barren.add(target.fileId);
      if (error.code !== 'NOT_GO' && error.code !== 'NO_FUNCTION_MATCHES') {
        onNotice({ code: error.code, message: error.message });
      }
    }
  }

  private async exited(pid: number, endNs: bigint): Promise<void> {
    const { session, onExited, onOpen, onEmpty } = this.options;
    // A child may have been gone before it was read; the kernel knows it all the same.
    const known = this.targets.delete(pid);
    await session.drain();
    const open = await session.openCallsOf(pid);
    await onExited(pid, endNs, open);
    session.forget(open);
    onOpen(open);
    session.removeTarget(pid);
    await Promise.all([...this.attachments.values()].map((each) => each.detach(pid)));
    this.resources.delete(pid);
    if (known && this.targets.size === 0) onEmpty();
  }
}

function tryRead(pid: number, procfs: Procfs): Target | null {
  try {
    return readTarget(pid, procfs);
  } catch {
    return null;
  }
}

function biasOf(target: Target, attachment: Attachment): number {
  try {
    return moduleBias(target.pid, target.fileId, attachment.plan.module.facts) ?? 0;
  } catch {
    return 0;
  }
}

function eventOf(event: number, tgid: number): ProcessRecord {
  return { timeNs: process.hrtime.bigint(), event, tgid, parentTgid: 0 };
}
