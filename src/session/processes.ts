/** The processes that are followed, and how each is linked to the probes of its rule. */
import { UnderspanError } from '../errors.js';
import {
  isRuntime,
  KERNEL,
  MAIN,
  type ModuleRole,
  requestFor,
  wantsKernel,
  wantsLibraries,
} from '../plan/module-role.js';
import type { ModulePlan } from '../plan/plan.js';
import { noArgument, unclaimed } from '../plan/unclaimed.js';
import type { Notice } from '../sinks/sink.js';
import { plural } from '../sinks/tree-format.js';
import { SiteKind } from '../spans/records.generated.js';
import { mappedLibraries } from '../targets/mapped.js';
import { hasEnded, type Procfs } from '../targets/procfs.js';
import { isRunning, type Target } from '../targets/target.js';
import type { ThreadContexts } from '../targets/thread-context.js';
import type { Modules } from './modules.js';
import type { OpenStackCalls } from './open-calls.js';
import { KERNEL_FILE, type ModuleFile, type ProbedModule } from './probed-module.js';
import type { ProcessResources } from './resources.js';
import type { Decision, TraceRule } from './rule.js';
import type { FollowedProcess } from './rule-change.js';
import type { Session } from './session.js';
import type { Trampolines } from './trampolines.js';

export interface ProcessesOptions {
  session: Session;
  modules: Modules;
  resources: ProcessResources;
  trampolines: Trampolines;
  threadContexts: Pick<ThreadContexts, 'find'>;
  procfs: Procfs;
  onNotice: (notice: Notice, rule: TraceRule) => void;
  /** All records of a process that has exited have come; its open calls are still in the table. */
  onExited: (pid: number, endNs: bigint, open: readonly OpenStackCalls[]) => Promise<void>;
}

export class Processes {
  private readonly known = new Map<number, FollowedProcess>();
  /** Those of main executables for which it has been told what arguments nothing has. */
  private readonly claims = new WeakSet<ProbedModule>();

  constructor(private readonly options: ProcessesOptions) {}

  get all(): ReadonlyMap<number, FollowedProcess> {
    return this.known;
  }

  get(pid: number): FollowedProcess | null {
    return this.known.get(pid) ?? null;
  }

  /** The same process, running the same program, as when it was read. */
  isCurrent({ pid, fileId, startTime }: Target): boolean {
    const known = this.known.get(pid)?.target;
    return known?.fileId === fileId && known.startTime === startTime;
  }

  /** The kernel has made it a target like its parent. A Go program's child only executes another. */
  async fork(child: Target, parent: FollowedProcess | null): Promise<void> {
    const rule = parent?.rule ?? null;
    const isCopy = parent?.target.fileId === child.fileId;
    this.set(child, rule, null);
    if (!rule || !isCopy || parent?.probed?.attachment.plan.kind === 'go') return;
    this.options.session.targets.copy(parent.target.pid, child.pid);
    if (parent?.probed) await this.link(child, rule, parent.probed);
    else await this.takeOthers(child.pid);
  }

  private set(target: Target, rule: TraceRule | null, probed: ProbedModule | null): void {
    const before = this.known.get(target.pid);
    const same = before?.rule === rule && before?.target.fileId === target.fileId;
    const others = same ? before.others : new Set<ProbedModule>();
    this.known.set(target.pid, { target, rule, probed, others });
  }

  /** Follows a process that has nothing to trace yet, for what it may start. */
  watch(target: Target, rule: TraceRule | null): void {
    this.set(target, rule, null);
    this.options.session.targets.add(target.pid, rule?.followForks ?? false);
  }

  /**
   * Attaches to a process by a plan made before. Its libraries come first, so that no call is seen to
   * begin that longjmp then leaves unseen.
   */
  async attach(
    target: Target,
    rule: TraceRule,
    plan: ModulePlan,
    libraries: readonly ModuleFile[],
  ): Promise<void> {
    const whole = rule.reach(target) === 'all';
    if (plan.kind === 'native') this.foreseeLibraries(target, rule);
    try {
      const probed = await this.options.modules.need(rule, target, whole, plan);
      if (probed) await this.link(target, rule, probed, libraries);
      else await this.takeOthers(target.pid, libraries);
    } catch (error) {
      throw this.orEnded(target, error);
    }
  }

  /** Those in which stacks change are needed in a moment: they are loaded beside the executable. */
  private foreseeLibraries({ pid, fileId }: Target, rule: TraceRule): void {
    const { modules, procfs } = this.options;
    for (const library of mappedLibraries(pid, procfs)) {
      if (library.fileId === fileId || !isRuntime(library.exe)) continue;
      const role = { kind: 'library', path: library.exe } as const;
      // Functions are numbered in the order in which their modules are loaded.
      if (requestFor(rule.request, role, library.exe).patterns.length > 0) continue;
      // What fails is tried, and told, when it is linked.
      modules.need(rule, library, false, undefined, role).catch(() => undefined);
    }
  }

  /** Links a process to what its rule has functions of besides its main executable. */
  private async takeOthers(pid: number, expected: readonly ModuleFile[] = []): Promise<void> {
    await this.takeKernel(pid);
    await this.takeLibraries(pid, expected);
  }

  private async takeKernel(pid: number): Promise<void> {
    const { modules, onNotice } = this.options;
    const known = this.known.get(pid);
    const rule = known?.rule;
    if (!known || !rule || !wantsKernel(rule.request)) return;
    const probed = await modules.need(rule, KERNEL_FILE, false, undefined, KERNEL);
    if (this.known.get(pid) !== known) return;
    if (!probed) {
      this.tellProblem(known.target, rule, KERNEL_FILE, KERNEL);
      return;
    }
    if (known.others.has(probed)) return;
    known.others.add(probed);
    const isNew = !probed.attachment.isAttached(null);
    await modules.links.link(probed, known.target);
    if (isNew) onNotice(followed(probed, `for process ${pid}`), rule);
  }

  /**
   * Links a process to the probes in its libraries: those that its rule has functions of, and, where
   * native functions are traced, those in which stacks change. Until nothing new is found: the dynamic
   * linker is watched from its own first probe on. `expected`: not mapped yet.
   */
  async takeLibraries(pid: number, expected: readonly ModuleFile[] = []): Promise<void> {
    await this.linkLibraries(pid, expected);
    this.tellUnclaimed(pid);
  }

  /** Once for each executable: nothing else of a process is likely to differ. */
  private tellUnclaimed(pid: number): void {
    const known = this.known.get(pid);
    const probes = known ? probesOf(known) : [];
    const [first] = probes;
    if (!known?.rule || !first || this.claims.has(first)) return;
    const modules = probes.map(({ role, exe, attachment: { plan } }) => ({ role, exe, plan }));
    const missing = unclaimed(known.rule.request, modules);
    if (missing === null) return;
    this.claims.add(first);
    for (const path of missing) this.options.onNotice(noArgument(path), known.rule);
  }

  private async linkLibraries(pid: number, expected: readonly ModuleFile[]): Promise<void> {
    const { modules, procfs, onNotice } = this.options;
    const process = this.known.get(pid);
    if (process && hasLibraries(process)) await this.findThreadContext(pid);
    for (let found = true; found;) {
      const known = this.known.get(pid);
      const rule = known?.rule;
      if (!known || !rule || !hasLibraries(known)) return;
      found = false;
      // At once: the kernel waits for a moment at each.
      const links: Promise<void>[] = [];
      for (const library of [...expected, ...mappedLibraries(pid, procfs)]) {
        const isKnown = [...known.others].some(({ fileId }) => fileId === library.fileId);
        if (isKnown || library.fileId === known.target.fileId) continue;
        const role = { kind: 'library', path: library.exe } as const;
        const wanted = requestFor(rule.request, role, library.exe).patterns.length > 0;
        if (!wanted && !isRuntime(library.exe)) continue;
        const probed = await modules.need(rule, library, false, undefined, role);
        if (this.known.get(pid) !== known) return all(links);
        if (!probed) {
          if (wanted) this.tellProblem(known.target, rule, library, role);
          continue;
        }
        known.others.add(probed);
        found = true;
        const told = wanted ? followed(probed, `in process ${pid}`) : null;
        const link = modules.links.link(probed, known.target).then(() => {
          if (told) onNotice(told, rule);
        });
        // Seen to below.
        link.catch(() => undefined);
        links.push(link);
      }
      await all(links);
    }
    await this.judgeTrampolines(pid);
  }

  /** Only where the kernel side hears of further libraries, or where none can come. */
  private async judgeTrampolines(pid: number): Promise<void> {
    const { trampolines, procfs } = this.options;
    const known = this.known.get(pid);
    if (!known?.rule || known.rule.options.returnTrampoline) return;
    const functions = probesOf(known).flatMap(({ attachment }) => attachment.plan.functions);
    if (!functions.some(({ trampoline }) => trampoline)) return;
    const isWatched = [...known.others].some(({ attachment }) =>
      attachment.plan.support.some(({ kind }) => kind === SiteKind.LIBRARIES),
    );
    const { fileId } = known.target;
    const isStatic = mappedLibraries(pid, procfs).every((file) => file.fileId === fileId);
    if (isWatched || isStatic) await trampolines.judge(pid);
  }

  /** A library may have brought it, or taken it away. */
  private async findThreadContext(pid: number): Promise<void> {
    const place = await this.options.threadContexts.find(pid).catch(() => null);
    if (this.known.has(pid)) this.options.session.targets.setThreadContext(pid, place);
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

  private async link(
    target: Target,
    rule: TraceRule,
    probed: ProbedModule,
    expected: readonly ModuleFile[] = [],
  ): Promise<void> {
    const { modules } = this.options;
    this.set(target, rule, probed);
    if (probed.attachment.plan.kind === 'go') {
      await modules.links.link(probed, target);
      return this.takeOthers(target.pid, expected);
    }
    // What is known of the process by its libraries holds for the first call that counts.
    await this.takeOthers(target.pid, expected);
    if (this.known.get(target.pid)?.probed === probed) await modules.links.link(probed, target);
  }

  /** Links a process to the probes of its rule, or says why there are none: null. */
  async take(target: Target, { rule, whole }: Decision): Promise<ProbedModule | null> {
    const { modules, onNotice } = this.options;
    const probed = await modules.need(rule, target, whole);
    if (probed) {
      const isNew = probed.pids.size === 0 && !probed.attachment.isAttached(target.pid);
      await this.link(target, rule, probed);
      if (isNew && probed.attachment.plan.functions.length > 0) {
        onNotice(followed(probed, `in process ${target.pid}`), rule);
      }
      return probed;
    }
    const wantsOthers = wantsLibraries(rule.request) || wantsKernel(rule.request);
    if (rule.followExecs || wantsOthers) this.watch(target, rule);
    else this.forget(target.pid);
    this.tellProblem(target, rule, target, MAIN);
    await this.takeOthers(target.pid);
    return null;
  }

  private tellProblem(target: Target, rule: TraceRule, module: ModuleFile, role: ModuleRole): void {
    const problem = this.options.modules.barren.problem(rule, module.fileId, role);
    // Of a process that ended too soon nothing is known of its executable.
    if (!problem || !isRunning(target, this.options.procfs)) return;
    // What is followed for the sake of its parent need not have what was asked for.
    if (problem.code === 'NO_FUNCTION_MATCHES' && rule.followExecs) return;
    const { code, message, hint, pattern } = problem;
    this.options.onNotice(
      { code, message, ...(hint ? { hint } : {}), ...(pattern ? { pattern } : {}) },
      rule,
    );
  }

  /** The process is gone; later ones are traced from their first call. */
  async arm(probed: ProbedModule): Promise<void> {
    if (!probed.whole || probed.attachment.isAttached(null)) return;
    await this.options.modules.links.arm(probed);
    this.options.onNotice(followed(probed, 'for its next process'), probed.rule);
  }

  /** Its probes are no longer its own; what is open in it has ended. */
  async leave(pid: number): Promise<void> {
    const known = this.known.get(pid);
    const probes = known ? probesOf(known) : [];
    if (!known || probes.length === 0) return;
    await Promise.all(probes.map((probed) => this.options.modules.links.unlink(probed, pid)));
    known.probed = null;
    known.others.clear();
    await this.options.session.drain();
    await this.end(pid, process.hrtime.bigint(), await this.options.session.openCallsOf(pid));
  }

  /** It has exited. Resolves with the probes that it is still to be unlinked from. */
  async exited(pid: number, endNs: bigint): Promise<ProbedModule[]> {
    const { session, resources } = this.options;
    // A child may have been gone before it was read; the kernel knows it all the same.
    const known = this.known.get(pid);
    this.known.delete(pid);
    await session.drain();
    await this.end(pid, endNs, await session.openCallsOf(pid));
    session.targets.remove(pid);
    resources.delete(pid);
    return known ? probesOf(known) : [];
  }

  /**
   * Processes that were gone before they were looked at: the kernel, to which they were no targets,
   * does not tell when they exit. Their calls have been counted all the same where one attachment
   * serves all processes of an executable.
   */
  async sweep(unseen: Iterable<number>): Promise<void> {
    const { session, resources } = this.options;
    const open = await session.allOpenCalls();
    const pids = new Set([...unseen, ...open.map(({ tgid }) => tgid)]);
    for (const pid of pids) {
      if (this.known.has(pid) || this.runs(pid)) continue;
      // Anew: what was open above may have returned before the process ended.
      await session.drain();
      await this.end(pid, process.hrtime.bigint(), await session.openCallsOf(pid));
      resources.delete(pid);
    }
  }

  private runs(pid: number): boolean {
    try {
      const { procfs } = this.options;
      return !hasEnded(procfs.stat(pid)) || procfs.hasRunningThread(pid);
    } catch {
      return false;
    }
  }

  private async end(pid: number, endNs: bigint, open: readonly OpenStackCalls[]): Promise<void> {
    await this.options.onExited(pid, endNs, open);
    this.options.session.forget(open);
  }

  /** It falls under no rule. */
  forget(pid: number): void {
    if (!this.known.delete(pid)) return;
    this.options.session.targets.remove(pid);
    this.options.resources.delete(pid);
  }

  /** These probes are gone. */
  unprobe(probed: ProbedModule): void {
    for (const known of this.known.values()) {
      if (known.probed === probed) known.probed = null;
      known.others.delete(probed);
    }
  }
}

/** Throws what one of them does when all have come to an end. */
async function all(work: readonly Promise<void>[]): Promise<void> {
  await Promise.allSettled(work);
  await Promise.all(work);
}

/** All that a process is linked to. */
export const probesOf = ({ probed, others }: FollowedProcess): ProbedModule[] => [
  ...(probed ? [probed] : []),
  ...others,
];

/** Go's runtime needs no library; what else runs on threads does. */
function hasLibraries({ rule, probed }: FollowedProcess): boolean {
  return (
    probed?.attachment.plan.kind === 'native' || (rule !== null && wantsLibraries(rule.request))
  );
}

const followed = ({ attachment, exe }: ProbedModule, where: string): Notice => ({
  code: 'PROCESS_FOLLOWED',
  message: `attached to ${plural(attachment.plan.functions.length, 'function')} of ${exe} ${where}`,
});
