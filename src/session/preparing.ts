/** Modules on their way to being probed: planned, and their programs loaded, once for each rule. */
import { UnderspanError } from '../errors.js';
import type { Native } from '../native/native.js';
import { type ModuleRole, requestFor } from '../plan/module-role.js';
import { planModule, type PlanRequest } from '../plan/plan-module.js';
import type { ModulePlan } from '../plan/plan.js';
import type { Notice } from '../sinks/sink.js';
import { EXECUTABLE_GONE, OpenFile, stampOf } from '../targets/open-file.js';
import type { ModuleProbes } from './attachment.js';
import { type Barren, NO_ROOM } from './barren.js';
import { crashKey, CRASHED, type Crashes } from './crashes.js';
import { FileLeases } from './file-leases.js';
import type { MapsByRule } from './maps-by-rule.js';
import { isKeyOf, keyOf, type ModuleFile, type ProbedModule } from './probed-module.js';
import type { TraceRule } from './rule.js';
import type { Session } from './session.js';

export interface PreparingOptions {
  native: Native;
  session: Session;
  /** What is not attached again at once; null: anything is. */
  crashes: Crashes | null;
  maps: MapsByRule;
  barren: Barren;
  onPrepared: (probed: ProbedModule) => void;
  onNotice: (notice: Notice) => void;
}

export class Preparing {
  private readonly underWay = new Map<string, Promise<ProbedModule | null>>();
  private readonly leases: FileLeases;

  constructor(private readonly options: PreparingOptions) {
    this.leases = new FileLeases(options.native, options.onNotice);
  }

  /** Whether a module of the rule is on its way. */
  has(rule: TraceRule): boolean {
    return [...this.underWay.keys()].some((key) => isKeyOf(rule, key));
  }

  /** Null if there is nothing to trace, and then it is barren. `known` is a plan made before. */
  prepare(
    rule: TraceRule,
    target: ModuleFile,
    whole: boolean,
    role: ModuleRole,
    known?: ModulePlan,
  ): Promise<ProbedModule | null> {
    const key = keyOf(rule, target.fileId, role);
    let underWay = this.underWay.get(key);
    if (!underWay) {
      underWay = this.planAndLoad(key, rule, target, whole, role, known).finally(() =>
        this.underWay.delete(key),
      );
      this.underWay.set(key, underWay);
    }
    return underWay;
  }

  private async planAndLoad(
    key: string,
    rule: TraceRule,
    target: ModuleFile,
    whole: boolean,
    role: ModuleRole,
    known?: ModulePlan,
  ): Promise<ProbedModule | null> {
    const stamp = stampOf(target.file);
    let file: OpenFile | null = null;
    let crash: string | null = null;
    try {
      file = role.kind === 'kernel' ? null : new OpenFile(target.file, target.exe);
      const plan = known ?? (await this.plan(rule, file, target.exe, role));
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
      this.options.onPrepared(probed);
      return probed;
    } catch (error) {
      file?.close();
      if (!(error instanceof UnderspanError) || known) throw error;
      if (error.code === EXECUTABLE_GONE) return null;
      // What else went wrong does not pass with time.
      this.options.barren.add(key, { error, stamp, crash: error.code === CRASHED ? crash : null });
      return null;
    }
  }

  private async plan(
    rule: TraceRule,
    file: OpenFile | null,
    exe: string,
    role: ModuleRole,
  ): Promise<ModulePlan> {
    const { native, session } = this.options;
    const request: PlanRequest = {
      ...requestFor(rule.request, role, exe),
      maxFunctions: Math.min(rule.request.maxFunctions, session.room),
    };
    if (file) return planModule(native, file.path, exe, request);
    const { planKernel } = await import('../plan/kernel-plan.js');
    return planKernel(native, session.features, request);
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

  private async load(
    plan: ModulePlan,
    rule: TraceRule,
    filterTargets: boolean,
  ): Promise<ModuleProbes> {
    const { session, maps } = this.options;
    const ofRule = await maps.of(rule);
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
    return session.add(plan, ofRule, rule.options, filterTargets);
  }

  /** Resolves when nothing is on its way any more. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.underWay.values());
  }
}
