/** The probes of each rule in each module, from when they are needed to when they are taken back. */
import type { Native } from '../native/native.js';
import { MAIN } from '../plan/module-role.js';
import type { ModulePlan } from '../plan/plan.js';
import type { Notice } from '../sinks/sink.js';
import type { ProcessRecord } from '../spans/call.js';
import { stampOf } from '../targets/open-file.js';
import { Barren } from './barren.js';
import { type Blamed, CrashWatch, type ProcessEnd } from './crash-watch.js';
import type { Crashes } from './crashes.js';
import type { HotFunctions } from './hot-functions.js';
import { MapsByRule } from './maps-by-rule.js';
import { ModuleLinks } from './module-links.js';
import type { OpenStackCalls } from './open-calls.js';
import { Preparing } from './preparing.js';
import { keyOf, type ModuleFile, type ProbedModule } from './probed-module.js';
import type { TraceRule } from './rule.js';
import type { Session } from './session.js';
import { openIn, silence } from './silence.js';
import { Suspended } from './suspended.js';

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

/** How long probes stay in a file that nothing runs and that could be written over, in ms. */
const UNGUARDED_MS = 500;

export class Modules {
  readonly barren: Barren;
  readonly maps: MapsByRule;
  readonly preparing: Preparing;
  readonly links: ModuleLinks;
  private readonly probed = new Map<string, ProbedModule>();
  private readonly crashWatch: CrashWatch | null;
  private readonly suspended = new Suspended(() => this.all);

  constructor(private readonly options: ModulesOptions) {
    const { native, session, crashes, hot, onAdded, onNotice } = options;
    this.barren = new Barren(crashes, () => this.all);
    this.maps = new MapsByRule(session);
    this.crashWatch = crashes && new CrashWatch(crashes);
    this.links = new ModuleLinks({
      session,
      crashes,
      crashWatch: this.crashWatch,
      hot,
      suspended: this.suspended,
    });
    this.preparing = new Preparing({
      native,
      session,
      crashes,
      maps: this.maps,
      barren: this.barren,
      onNotice,
      onPrepared: (probed) => {
        this.probed.set(keyOf(probed.rule, probed.fileId, probed.role), probed);
        onAdded(probed);
      },
    });
  }

  get all(): Iterable<ProbedModule> {
    return this.probed.values();
  }

  find(rule: TraceRule, fileId: string): ProbedModule | null {
    return this.probed.get(keyOf(rule, fileId, MAIN)) ?? null;
  }

  private isPresent(probed: ProbedModule): boolean {
    return this.probed.get(keyOf(probed.rule, probed.fileId, probed.role)) === probed;
  }

  /**
   * Plans and loads, unless that has been done. Null if there is nothing to trace, then `barren` says
   * why. `plan` is one made before.
   */
  async need(
    rule: TraceRule,
    target: ModuleFile,
    whole: boolean,
    plan?: ModulePlan,
    role = MAIN,
  ): Promise<ProbedModule | null> {
    const key = keyOf(rule, target.fileId, role);
    if (this.barren.has(key, target.file)) return null;
    return this.probed.get(key) ?? (await this.preparing.prepare(rule, target, whole, role, plan));
  }

  /**
   * Takes back the probes of the module for a while, and those that its processes have besides. What
   * is counted, and whose they are, stays.
   */
  async suspend(probed: ProbedModule): Promise<void> {
    const { session, onSuspended } = this.options;
    if (!this.isPresent(probed)) return;
    const all = this.suspended.begin(probed);
    await silence(session, all);
    const open = await openIn(session, all);
    await onSuspended(all, open);
    // Goroutines that go on are new ones when the probes are back.
    session.forget(open);
  }

  async resume(probed: ProbedModule): Promise<void> {
    if (!this.isPresent(probed)) return;
    await this.links.putBack(this.suspended.end(probed), this.suspended.sharing(probed));
  }

  /**
   * Says which of its probes a process may have died of: they are not attached again for some time.
   * Those of other processes that run the file stay. `executed`: what it has last executed, and when.
   */
  ended(end: ProcessEnd, executed?: ProcessRecord): Blamed[] {
    const blamed = this.crashWatch?.ended(end, this.all, executed) ?? [];
    for (const { probed, error } of blamed) {
      const { rule, role, fileId, file, crashKey: crash } = probed;
      const stamp = stampOf(file?.path ?? '');
      this.barren.add(keyOf(rule, fileId, role), { error, stamp, crash });
    }
    return blamed;
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

  /** Takes its probes back. Its processes are nobody's then. */
  async remove(probed: ProbedModule, why: DetachReason): Promise<void> {
    if (!this.isPresent(probed)) return;
    this.probed.delete(keyOf(probed.rule, probed.fileId, probed.role));
    const back = this.suspended.end(probed).filter((each) => each.probed !== probed);
    this.suspended.release(probed);
    try {
      await this.takeBack(probed, why);
      await this.links.putBack(back, []);
    } finally {
      probed.lease?.close();
      probed.file?.close();
    }
    this.barren.forgetNoRoom();
  }

  private async takeBack(probed: ProbedModule, why: DetachReason): Promise<void> {
    const { session, onRemoved } = this.options;
    const { attachment } = probed;
    await silence(session, [probed]);
    await this.maps.forgetFunctions(probed.rule, attachment);
    const open = await openIn(session, [probed]);
    // Nothing may wait between these: what onRemoved() has noted must not be counted twice.
    await onRemoved(probed, open, why);
    session.forget(open);
    session.remove(attachment);
  }

  /** The rule is gone, and so are its probes. */
  async forget(rule: TraceRule): Promise<void> {
    await this.maps.forget(rule);
    this.barren.forget(rule);
  }

  async close(): Promise<void> {
    await this.preparing.settled();
    for (const { lease, file } of this.all) {
      lease?.close();
      file?.close();
    }
    await this.maps.close();
  }
}
