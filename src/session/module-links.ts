/** Which processes are linked to the probes of which module, and how these are attached for them. */
import { privateBytes } from '../plan/plan.js';
import { memoryGroups, memoryShortage } from '../targets/cgroup-memory.js';
import { moduleBias } from '../targets/mapped.js';
import { Procfs } from '../targets/procfs.js';
import type { Target } from '../targets/target.js';
import type { CrashWatch } from './crash-watch.js';
import { type Crashes, diedAttaching } from './crashes.js';
import type { HotFunctions } from './hot-functions.js';
import { kernelError } from './kernel-errors.js';
import type { ProbedModule } from './probed-module.js';
import type { Session } from './session.js';
import type { Returning, Suspended } from './suspended.js';

export interface ModuleLinksOptions {
  session: Session;
  crashes: Crashes | null;
  crashWatch: CrashWatch | null;
  /** What has cost too much before comes last; null: it is not remembered. */
  hot: HotFunctions | null;
  /** To these nothing is attached until they are put back. */
  suspended: Suspended;
}

export class ModuleLinks {
  private readonly procfs = new Procfs();

  constructor(private readonly options: ModuleLinksOptions) {}

  /** The process's calls count from now on. */
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
      left(probed, pid);
      throw error;
    }
  }

  /** Its pages become the process's own, and a process that may have no more memory is killed. */
  private requireMemory({ attachment }: ProbedModule, pid: number): void {
    const need = { pid, bytes: privateBytes(attachment.plan) };
    const shortage = memoryShortage([need], () => memoryGroups(pid, this.procfs));
    if (shortage) throw shortage;
  }

  private async attachTo(probed: ProbedModule, pid: number): Promise<void> {
    const { suspended, crashWatch } = this.options;
    if (suspended.has(probed, pid)) return;
    if (suspended.release(probed) === true) await this.attach(probed, null);
    // Before as well: it may die while they are attached.
    crashWatch?.linked(probed, pid);
    await this.attach(probed, probed.shared ? null : pid);
    crashWatch?.linked(probed, pid);
  }

  /** For processes that are yet to come; the one that it was planned for has ended. */
  async arm(probed: ProbedModule): Promise<void> {
    const { suspended } = this.options;
    if (suspended.has(probed, null)) suspended.wantAll(probed);
    else await this.attach(probed, null);
  }

  /**
   * Attaches what was suspended, to whoever is linked to it. `sharing`: what may have come to their
   * processes meanwhile.
   */
  async putBack(back: readonly Returning[], sharing: readonly ProbedModule[]): Promise<void> {
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

  /** To the process, or with null to all. */
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
    const { session, crashWatch } = this.options;
    session.targets.removeModule(pid, probed.attachment.number);
    crashWatch?.unlinked(probed, pid);
    left(probed, pid);
    return probed.attachment.detach(pid);
  }
}

function left(probed: ProbedModule, pid: number): void {
  probed.pids.delete(pid);
  if (probed.pids.size === 0) probed.idleSince ??= performance.now();
}

function biasOf(pid: number, { fileId, attachment }: ProbedModule): number {
  try {
    return moduleBias(pid, fileId, attachment.plan.module.facts) ?? 0;
  } catch {
    return 0;
  }
}
