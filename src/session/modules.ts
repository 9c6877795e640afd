/** The probes of each rule in each module: planned once, linked to processes, taken back. */
import { UnderspanError } from '../errors.js';
import type { Lease, Native } from '../native/native.js';
import { MAIN, type ModuleRole, requestFor } from '../plan/module-role.js';
import { planModule, type PlanRequest } from '../plan/plan-module.js';
import { type ModulePlan, privateBytes, siteCount } from '../plan/plan.js';
import type { Notice } from '../sinks/sink.js';
import type { ProcessRecord } from '../spans/call.js';
import { memoryGroups, memoryShortage } from '../targets/cgroup-memory.js';
import { moduleBias } from '../targets/mapped.js';
import { EXECUTABLE_GONE, OpenFile, stampOf } from '../targets/open-file.js';
import { Procfs } from '../targets/procfs.js';
import type { Target } from '../targets/target.js';
import {
  type CountedRest,
  type CountedStack,
  forgetAllocationStacks,
  readAllocationRest,
  readAllocationStacks,
} from './allocation-stacks.js';
import type { ModuleProbes } from './attachment.js';
import { type Blamed, CrashWatch, type ProcessEnd } from './crash-watch.js';
import { crashKey, CRASHED, type Crashes, diedAttaching } from './crashes.js';
import { FileLeases } from './file-leases.js';
import type { HotFunctions } from './hot-functions.js';
import { forgetHttpRequests, type HttpRequests, readHttpRequests } from './http-requests.js';
import { kernelError } from './kernel-errors.js';
import { functionOf, type OpenStackCalls } from './open-calls.js';
import type { TraceRule } from './rule.js';
import type { RuleMaps } from './rule-maps.js';
import type { Session } from './session.js';
import { type Returning, Suspended } from './suspended.js';

/** A module of a process, as Target has them of its main executable. */
export type ModuleFile = Pick<Target, 'exe' | 'file' | 'fileId'>;

/** The kernel, of which there is no file. */
export const KERNEL_FILE: ModuleFile = { exe: 'the kernel', file: '', fileId: '' };

/** One rule in one module. */
export interface ProbedModule {
  readonly rule: TraceRule;
  readonly role: ModuleRole;
  readonly fileId: string;
  /** Path as its processes see it. */
  readonly exe: string;
  /** One attachment serves all processes, also those that are not known yet. */
  readonly whole: boolean;
  /** Its links are not those of one process. */
  readonly shared: boolean;
  readonly attachment: ModuleProbes;
  /** By which it is remembered that a process died of it; null: it never is. */
  readonly crashKey: string | null;
  readonly pids: Set<number>;
  /** When its last process ended, in ms of performance.now(); null: some run. */
  idleSince: number | null;
  /** By which it can be opened, also when none of its processes is left; null: the kernel. */
  readonly file: OpenFile | null;
  /** Keeps the file as it is while probes wait for its next process; null: they do not wait. */
  readonly lease: Lease | null;
}

/** Why probes are taken back. */
export type DetachReason = 'idle' | 'file-changed' | 'reload' | 'crash';

export interface ModulesOptions {
  native: Native;
  session: Session;
  /** What is not attached again at once; null: anything is. */
  crashes: Crashes | null;
  /** What has cost too much before comes last; null: it is not remembered. */
  hot: HotFunctions | null;
  /** Loaded: its functions have numbers now. */
  onAdded: (probed: ProbedModule) => void;
  /** All its records have come; its statistics are still there. `open` are its goroutines. */
  onRemoved: (
    probed: ProbedModule,
    open: readonly OpenStackCalls[],
    why: DetachReason,
  ) => Promise<void>;
  /** Their probes are gone for a while, and `open` will not be seen to end. */
  onSuspended: (probed: readonly ProbedModule[], open: readonly OpenStackCalls[]) => Promise<void>;
  onNotice: (notice: Notice) => void;
}

/** Time that calls which are open when probes are taken back have to return, in ms. */
const GRACE_MS = 100;
/** How long probes stay in a file that nothing runs and that could be written over, in ms. */
const UNGUARDED_MS = 500;
/** Modules that are remembered to have nothing to trace. */
const MOST_BARREN = 10_000;
const NO_ROOM = 'TOO_MANY_FUNCTIONS';

interface Barren {
  error: UnderspanError;
  stamp: string;
  /** By which Crashes says how long; null: for as long as the file stays as it is. */
  crash: string | null;
}

export class Modules {
  private readonly probed = new Map<string, ProbedModule>();
  private readonly preparing = new Map<string, Promise<ProbedModule | null>>();
  /** With nothing to trace, and why. */
  private readonly barren = new Map<string, Barren>();
  private readonly crashWatch: CrashWatch | null;
  private readonly maps = new Map<TraceRule, Promise<RuleMaps>>();
  private readonly leases: FileLeases;
  private readonly procfs = new Procfs();
  private readonly suspended = new Suspended(() => this.probed.values());

  constructor(private readonly options: ModulesOptions) {
    this.leases = new FileLeases(options.native, options.onNotice);
    this.crashWatch = options.crashes && new CrashWatch(options.crashes);
  }

  get all(): Iterable<ProbedModule> {
    return this.probed.values();
  }

  find(rule: TraceRule, fileId: string): ProbedModule | null {
    return this.probed.get(keyOf(rule, fileId, MAIN)) ?? null;
  }

  /** Why the module has nothing to trace, if that is known. */
  problem(rule: TraceRule, fileId: string, role = MAIN): UnderspanError | null {
    return this.barren.get(keyOf(rule, fileId, role))?.error ?? null;
  }

  /** What keeps functions of the rule from being traced. */
  problemsOf(rule: TraceRule): UnderspanError[] {
    const found = [...this.probed.values()].some((probed) => probed.rule === rule);
    return [...this.barren]
      .filter(([key, { error, crash }]) => {
        if (crash !== null) return key.startsWith(`${rule.id}\0`);
        if (!key.startsWith(keyOf(rule, '', MAIN))) return false;
        // Where a rule has several modules, not every pattern is meant for all of them.
        return !(found && error.code === 'NO_FUNCTION_MATCHES');
      })
      .map(([, { error }]) => error);
  }

  /** HTTP requests of all rules. */
  async httpRequests(): Promise<HttpRequests[]> {
    const maps = await Promise.all(this.maps.values());
    const read = await Promise.all(maps.map(({ maps }) => readHttpRequests(maps.http_requests)));
    return read.flat();
  }

  /** Requests of the rule that found no room among those. */
  async httpUncounted(rule: TraceRule): Promise<number> {
    const maps = await this.maps.get(rule);
    return maps ? Number(maps.maps.http_uncounted.read(0, 1).readBigUInt64LE()) : 0;
  }

  /** Where calls allocated, of all rules that ask for it; null: none does. */
  async allocations(): Promise<{ stacks: CountedStack[]; rest: CountedRest } | null> {
    const all = await this.allocationMaps();
    if (all.length === 0) return null;
    const stacks = await Promise.all(
      all.map(({ maps }) => readAllocationStacks(maps.allocation_stacks)),
    );
    const rests = all.map(({ maps }) => readAllocationRest(maps.allocation_rest));
    const sum = (of: (rest: CountedRest) => number): number =>
      rests.reduce((total, rest) => total + of(rest), 0);
    const rest = { bytes: sum(({ bytes }) => bytes), samples: sum(({ samples }) => samples) };
    return { stacks: stacks.flat(), rest };
  }

  /** A call of one rule may allocate where another looks. */
  private async forgetAllocations(first: number, count: number): Promise<void> {
    for (const { maps } of await this.allocationMaps()) {
      await forgetAllocationStacks(maps.allocation_stacks, first, count);
    }
  }

  private allocationMaps(): Promise<RuleMaps[]> {
    const looking = [...this.maps].filter(([rule]) => rule.options.allocations);
    return Promise.all(looking.map(([, maps]) => maps));
  }

  isPreparing(rule: TraceRule): boolean {
    return [...this.preparing.keys()].some((key) => key.startsWith(`${rule.id}\0`));
  }

  /**
   * Plans and loads, unless that has been done. Null if there is nothing to trace, then problem()
   * says why. `plan` is one made before.
   */
  need(
    rule: TraceRule,
    target: ModuleFile,
    whole: boolean,
    plan?: ModulePlan,
    role = MAIN,
  ): Promise<ProbedModule | null> {
    const key = keyOf(rule, target.fileId, role);
    if (this.isBarren(key, target.file)) return Promise.resolve(null);
    const found = this.probed.get(key);
    if (found) return Promise.resolve(found);
    let preparing = this.preparing.get(key);
    if (!preparing) {
      preparing = this.prepare(key, rule, target, whole, role, plan).finally(() =>
        this.preparing.delete(key),
      );
      this.preparing.set(key, preparing);
    }
    return preparing;
  }

  private isBarren(key: string, file: string): boolean {
    const barren = this.barren.get(key);
    return barren?.stamp === stampOf(file) && !this.isPardoned(barren);
  }

  /** It has not been attached for long enough, or somebody has decided so. */
  private isPardoned({ crash }: Barren): boolean {
    return crash !== null && !this.options.crashes?.refusal(crash);
  }

  /** Forgets what may be attached again; true if there is any. */
  pardon(): boolean {
    const pardoned = [...this.barren].filter(([, barren]) => this.isPardoned(barren));
    for (const [key] of pardoned) this.barren.delete(key);
    return pardoned.length > 0;
  }

  private async prepare(
    key: string,
    rule: TraceRule,
    target: ModuleFile,
    whole: boolean,
    role: ModuleRole,
    known?: ModulePlan,
  ): Promise<ProbedModule | null> {
    const { native, session, onAdded } = this.options;
    const stamp = stampOf(target.file);
    let file: OpenFile | null = null;
    let crash: string | null = null;
    try {
      file = role.kind === 'kernel' ? null : new OpenFile(target.file, target.exe);
      const request = (): PlanRequest => ({
        ...requestFor(rule.request, role, target.exe),
        maxFunctions: Math.min(rule.request.maxFunctions, session.room),
      });
      const plan =
        known ??
        (file
          ? await planModule(native, file.path, target.exe, request())
          : await (
              await import('../plan/kernel-plan.js')
            ).planKernel(native, session.features, request()));
      crash = this.options.crashes && crashKey(plan, target.exe, rule);
      this.refuseCrashed(plan, crash);
      const shared = this.isShared(plan, rule, whole, role);
      const attachment = await this.load(plan, rule, shared && !whole);
      const probed: ProbedModule = {
        rule,
        role,
        fileId: target.fileId,
        exe: target.exe,
        whole,
        shared,
        attachment,
        crashKey: crash,
        pids: new Set(),
        idleSince: performance.now(),
        file,
        lease: shared && file ? this.leases.take(file.path, target.exe) : null,
      };
      this.probed.set(key, probed);
      onAdded(probed);
      return probed;
    } catch (error) {
      file?.close();
      if (!(error instanceof UnderspanError) || known) throw error;
      if (error.code === EXECUTABLE_GONE) return null;
      // What else went wrong does not pass with time.
      this.setBarren(key, { error, stamp, crash: error.code === CRASHED ? crash : null });
      return null;
    }
  }

  private setBarren(key: string, barren: Barren): void {
    this.barren.set(key, barren);
    const [oldest] = this.barren.keys();
    if (this.barren.size > MOST_BARREN && oldest !== undefined) this.barren.delete(oldest);
  }

  private refuseCrashed(plan: ModulePlan, key: string | null): void {
    const refusal = key === null ? null : this.options.crashes?.refusal(key);
    if (!refusal) return;
    plan.module.close();
    throw refusal;
  }

  /**
   * Whether its links are not those of one process, so that they are there for the next one: a
   * child that a native program forks runs the same functions at once, and links of its parent do
   * not count in it. Others that run the file are filtered out, but pay; so not in libraries.
   */
  private isShared(plan: ModulePlan, rule: TraceRule, whole: boolean, role: ModuleRole): boolean {
    if (whole || role.kind === 'kernel') return true;
    // A link for one process would leave out all its threads but one.
    if (!this.options.session.features.uprobeMultiThreads) return true;
    return plan.kind === 'native' && role.kind === 'main' && rule.followForks;
  }

  /** Files that somebody waits to write to, and modules that have been idle for long. */
  due(idleMs: number): { probed: ProbedModule; why: DetachReason }[] {
    const now = performance.now();
    return [...this.probed.values()].flatMap(
      (probed): { probed: ProbedModule; why: DetachReason }[] => {
        const { lease, idleSince, shared, file } = probed;
        if (lease?.isBroken()) return [{ probed, why: 'file-changed' }];
        if (idleSince === null) return [];
        const isUnguarded = lease === null && shared && file !== null;
        const waits = isUnguarded ? Math.min(idleMs, UNGUARDED_MS) : idleMs;
        return now - idleSince >= waits ? [{ probed, why: 'idle' }] : [];
      },
    );
  }

  private async load(
    plan: ModulePlan,
    rule: TraceRule,
    filterTargets: boolean,
  ): Promise<ModuleProbes> {
    const { session } = this.options;
    const maps = await this.mapsOf(rule);
    // What was room when it was planned may be taken by now; add() takes it at once.
    if (plan.functions.length > session.room) {
      plan.module.close();
      throw new UnderspanError(
        'usage',
        NO_ROOM,
        `${plan.functions.length} functions match, and there is room for ${session.room} more`,
        'narrow the patterns, or raise the limit of functions',
      );
    }
    return session.add(plan, maps, rule.options, filterTargets);
  }

  /** Common to all modules of the rule. */
  mapsOf(rule: TraceRule): Promise<RuleMaps> {
    let maps = this.maps.get(rule);
    if (!maps) {
      maps = this.options.session.addRule({
        readsArguments: rule.request.values.args.length > 0,
        allocations: rule.options.allocations,
      });
      this.maps.set(rule, maps);
    }
    return maps;
  }

  /** Its calls count from now on. */
  async link(probed: ProbedModule, target: Target): Promise<void> {
    const { session } = this.options;
    const { attachment, rule, shared, pids } = probed;
    const { pid } = target;
    const module = { bias: biasOf(pid, probed), attachment: attachment.number };
    if (
      !session.targets.addModule(pid, module, rule.followForks) &&
      (shared || !session.features.cookies)
    ) {
      throw new Error(
        `process ${pid} has too many modules to trace functions of ${probed.exe} too`,
      );
    }
    const { layout } = attachment.plan;
    if (layout) session.targets.setGoThreads(pid, layout);
    pids.add(pid);
    probed.idleSince = null;
    try {
      if (!attachment.isAttached(pid)) this.requireMemory(probed, pid);
      await this.attachTo(probed, pid);
    } catch (error) {
      this.left(probed, target.pid);
      throw error;
    }
  }

  private async attachTo(probed: ProbedModule, pid: number): Promise<void> {
    if (this.suspended.has(probed, pid)) return;
    if (this.suspended.release(probed) === true) await this.attach(probed, null);
    // Before as well: it may die while they are attached.
    this.crashWatch?.linked(probed, pid);
    await this.attach(probed, probed.shared ? null : pid);
    this.crashWatch?.linked(probed, pid);
  }

  /** Its pages become the process's own, and a process that may have no more memory is killed. */
  private requireMemory({ attachment }: ProbedModule, pid: number): void {
    const need = { pid, bytes: privateBytes(attachment.plan) };
    const shortage = memoryShortage([need], () => memoryGroups(pid, this.procfs));
    if (shortage) throw shortage;
  }

  /** For processes that are yet to come; the one that it was planned for has ended. */
  async arm(probed: ProbedModule): Promise<void> {
    if (this.suspended.has(probed, null)) this.suspended.wantAll(probed);
    else await this.attach(probed, null);
  }

  /**
   * Takes back the probes of the module for a while, and those that its processes have besides. What
   * is counted, and whose they are, stays.
   */
  async suspend(probed: ProbedModule): Promise<void> {
    if (!this.isPresent(probed)) return;
    const all = this.suspended.begin(probed);
    await this.silence(all);
    const open = await this.openIn(all);
    await this.options.onSuspended(all, open);
    // Goroutines that go on are new ones when the probes are back.
    this.options.session.forget(open);
  }

  async resume(probed: ProbedModule): Promise<void> {
    if (!this.isPresent(probed)) return;
    await this.putBack(this.suspended.end(probed), this.suspended.sharing(probed));
  }

  /** `sharing`: what may have come to their processes meanwhile. */
  private async putBack(
    back: readonly Returning[],
    sharing: readonly ProbedModule[],
  ): Promise<void> {
    for (const { probed, all } of back) if (all) await this.attach(probed, null);
    const modules = new Set([...back.map(({ probed }) => probed), ...sharing]);
    const links = [...modules].flatMap((each) =>
      [...each.pids]
        .filter((pid) => !each.attachment.isAttached(pid))
        .map((pid) => this.attachTo(each, pid)),
    );
    const failed = (await Promise.allSettled(links)).find(({ status }) => status === 'rejected');
    if (failed?.status === 'rejected') throw failed.reason;
  }

  private isPresent(probed: ProbedModule): boolean {
    return this.probed.get(keyOf(probed.rule, probed.fileId, probed.role)) === probed;
  }

  /**
   * Says which of its probes a process may have died of: they are not attached again for some time.
   * Those of other processes that run the file stay. `executed`: what it has last executed, and when.
   */
  ended(end: ProcessEnd, executed?: ProcessRecord): Blamed[] {
    const blamed = this.crashWatch?.ended(end, this.all, executed) ?? [];
    for (const { probed, error } of blamed) {
      const { rule, role, fileId, file, crashKey: crash } = probed;
      this.setBarren(keyOf(rule, fileId, role), { error, stamp: stampOf(file?.path ?? ''), crash });
    }
    return blamed;
  }

  private async attach(probed: ProbedModule, pid: number | null): Promise<void> {
    const { attachment, file, exe, crashKey: key } = probed;
    const { crashes, session } = this.options;
    if (attachment.isAttached(pid)) return;
    const hot = this.hotIn(probed);
    const attach = (): Promise<void> => attachment.attach(file?.path ?? '', pid, hot);
    try {
      await session.whileAttaching(attachment, () =>
        crashes ? crashes.marked(key, diedAttaching(exe, attachment.plan), attach) : attach(),
      );
    } catch (error) {
      throw kernelError(error);
    }
  }

  /** Numbers of its functions that were too dear when its file was attached to before. */
  private hotIn({ attachment, exe, role }: ProbedModule): Set<number> {
    const { plan, firstFunction } = attachment;
    const { hot } = this.options;
    const known = hot && role.kind !== 'kernel' ? hot.of(plan.module.facts, exe) : new Set();
    const numbers = plan.functions.flatMap(({ entry }, index) =>
      known.has(entry.address) ? [firstFunction + index] : [],
    );
    return new Set(numbers);
  }

  /** The process has ended, or runs something else now. */
  unlink(probed: ProbedModule, pid: number): Promise<void> {
    this.options.session.targets.removeModule(pid, probed.attachment.number);
    this.crashWatch?.unlinked(probed, pid);
    this.left(probed, pid);
    return probed.attachment.detach(pid);
  }

  private left(probed: ProbedModule, pid: number): void {
    probed.pids.delete(pid);
    if (probed.pids.size === 0) probed.idleSince ??= performance.now();
  }

  /** Takes its probes back. Its processes are nobody's then. */
  async remove(probed: ProbedModule, why: DetachReason): Promise<void> {
    if (!this.isPresent(probed)) return;
    this.probed.delete(keyOf(probed.rule, probed.fileId, probed.role));
    const back = this.suspended.end(probed).filter((each) => each.probed !== probed);
    this.suspended.release(probed);
    try {
      await this.takeBack(probed, why);
      await this.putBack(back, []);
    } finally {
      probed.lease?.close();
      probed.file?.close();
    }
    // There is room again for what found none.
    for (const [other, { error }] of this.barren) {
      if (error.code === NO_ROOM) this.barren.delete(other);
    }
  }

  private async takeBack(probed: ProbedModule, why: DetachReason): Promise<void> {
    const { session, onRemoved } = this.options;
    const { attachment } = probed;
    await this.silence([probed]);
    const { maps } = await this.mapsOf(probed.rule);
    const { firstFunction, plan } = attachment;
    await forgetHttpRequests(maps.http_requests, firstFunction, plan.functions.length);
    await this.forgetAllocations(firstFunction, plan.functions.length);
    const open = await this.openIn([probed]);
    // Nothing may wait between these: what onRemoved() has noted must not be counted twice.
    await onRemoved(probed, open, why);
    session.forget(open);
    session.remove(attachment);
  }

  /** When it resolves their probes are gone, and all their records have come. */
  private async silence(all: readonly ProbedModule[]): Promise<void> {
    await Promise.all(all.map(({ attachment }) => attachment.detachEntries()));
    const deadline = performance.now() + GRACE_MS;
    let open = await this.openIn(all);
    while (open.some(({ calls }) => calls.length > 0) && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      open = await this.openIn(all);
    }
    await Promise.all(all.map(({ attachment }) => attachment.detach()));
    await this.options.session.drain();
  }

  /**
   * All goroutines of processes in which their functions are open, those included that nobody has
   * linked: one attachment may serve processes that are not known yet.
   */
  private async openIn(probed: readonly ProbedModule[]): Promise<OpenStackCalls[]> {
    const all = await this.options.session.allOpenCalls();
    const own = new Set(probed.flatMap(({ pids }) => [...pids]));
    const isOwn = (call: Buffer): boolean =>
      probed.some(({ attachment }) => attachment.has(functionOf(call)));
    for (const { tgid, calls } of all) if (calls.some(isOwn)) own.add(tgid);
    return all.filter(({ tgid }) => own.has(tgid));
  }

  /** The rule is gone, and so are its probes. */
  async forget(rule: TraceRule): Promise<void> {
    const maps = this.maps.get(rule);
    this.maps.delete(rule);
    // If they could not be made, whoever needed them has been told.
    await (await maps?.catch(() => null))?.close();
    for (const key of [...this.barren.keys()]) {
      if (key.startsWith(`${rule.id}\0`)) this.barren.delete(key);
    }
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.preparing.values());
    for (const { lease, file } of this.probed.values()) {
      lease?.close();
      file?.close();
    }
    const rules = [...this.maps.keys()];
    await Promise.all(rules.map((rule) => this.forget(rule)));
  }
}

const keyOf = (rule: TraceRule, fileId: string, role: ModuleRole): string =>
  `${rule.id}\0${role.kind}\0${fileId}`;

export const sitesOf = ({ attachment }: ProbedModule): number => siteCount(attachment.plan);

function biasOf(pid: number, { fileId, attachment }: ProbedModule): number {
  try {
    return moduleBias(pid, fileId, attachment.plan.module.facts) ?? 0;
  } catch {
    return 0;
  }
}
