/** The processes of a session, from the first that was selected to their last child. */
import type { Selection } from '../engine.js';
import { UnderspanError } from '../errors.js';
import type { Native } from '../native/native.js';
import type { ModulePlan } from '../plan/plan.js';
import { planModule, type PlanRequest } from '../plan/plan-module.js';
import type { Notice } from '../sinks/sink.js';
import type { ProcessRecord } from '../spans/call.js';
import { ProcessEvent } from '../spans/records.generated.js';
import type { ProcessResource } from '../spans/span.js';
import { moduleBias } from '../targets/mapped.js';
import { readResource } from '../targets/resource.js';
import { readSdkResource } from '../targets/sdk-resource.js';
import { fits } from '../targets/select.js';
import { isRunning, readTarget, type Target } from '../targets/target.js';
import { Procfs } from '../targets/procfs.js';
import type { Attachment } from './attachment.js';
import { kernelError } from './kernel-errors.js';
import type { OpenGoroutine } from './open-calls.js';
import type { Session } from './session.js';

const SDK = 'go.opentelemetry.io/otel/sdk';

/** What every SDK says of itself (semantic conventions, telemetry.sdk.*), by its module version. */
const sdkAttributes = (version: string): Record<string, string> => ({
  'telemetry.sdk.language': 'go',
  'telemetry.sdk.name': 'opentelemetry',
  'telemetry.sdk.version': version.replace(/^v/, ''),
});

export interface FollowedOptions {
  native: Native;
  session: Session;
  selection: Selection;
  request: PlanRequest;
  followForks: boolean;
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
  private readonly resources = new Map<number, ProcessResource>();
  /** By identity of the executable. */
  private readonly attachments = new Map<string, Attachment>();
  /** Executables that were looked at and have nothing to trace. */
  private readonly barren = new Set<string>();
  /** Events are handled one after the other. */
  private queue: Promise<void> = Promise.resolve();
  private closed = false;

  constructor(private readonly options: FollowedOptions) {}

  get count(): number {
    return this.targets.size;
  }

  /** One object per process, also for a short while after it has exited. */
  resource(pid: number): ProcessResource {
    let resource = this.resources.get(pid);
    if (!resource) {
      const target = this.targets.get(pid) ?? tryRead(pid, this.procfs);
      resource = target ? readResource(target, this.procfs) : { attributes: {} };
      const sdk = target && this.attachments.get(target.fileId)?.plan.module.facts.go?.modules[SDK];
      if (sdk) Object.assign(resource.attributes, sdkAttributes(sdk));
      this.resources.set(pid, resource);
    }
    return resource;
  }

  /** Takes the resource that the process's own SDK has; it stands for all spans from now on. */
  learnResource(pid: number, tracer: bigint): void {
    const target = this.targets.get(pid);
    const layout = target && this.attachments.get(target.fileId)?.plan.layout.resource;
    if (!layout) return;
    try {
      this.resources.set(pid, { attributes: readSdkResource(pid, tracer, layout) });
    } catch (error) {
      this.options.onNotice({
        code: 'RESOURCE_NOT_READ',
        message: `the resource of process ${pid} could not be read from its memory (${error instanceof Error ? error.message : String(error)}); what its environment says is taken`,
      });
    }
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

  /** A full ring may have lost an event: whoever has ended has exited. */
  reap(): void {
    for (const target of this.targets.values()) {
      if (isRunning(target, this.procfs)) continue;
      this.handle({
        timeNs: process.hrtime.bigint(),
        event: ProcessEvent.EXITED,
        tgid: target.pid,
        parentTgid: 0,
      });
    }
  }

  handle(event: ProcessRecord): void {
    if (this.closed && event.event !== ProcessEvent.EXITED) return;
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
