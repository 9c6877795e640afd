/** Probes that are taken back: nothing runs what they are in, somebody waits, or their rule went. */
import type { FollowedOptions } from './followed.js';
import type { DetachReason } from './modules.js';
import type { ProbedModule } from './probed-module.js';
import type { Processes } from './processes.js';
import type { WorkQueue } from './work-queue.js';

export interface RemovalsOptions extends Pick<
  FollowedOptions,
  'session' | 'modules' | 'holds' | 'onNotice'
> {
  processes: Processes;
  queue: WorkQueue;
}

export class Removals {
  private closed = false;

  constructor(private readonly options: RemovalsOptions) {}

  /** All probes are about to go at once. */
  close(): void {
    this.closed = true;
  }

  /** Takes back probes that are not needed, or that somebody waits for. */
  tidy(idleMs: number): void {
    for (const { probed, why } of this.options.modules.due(idleMs)) {
      void this.takeBack(probed, why);
    }
  }

  private async takeBack(probed: ProbedModule, why: DetachReason): Promise<void> {
    const { holds, session, queue } = this.options;
    if (probed.rule.hold.length > 0) {
      // Who has been let pass so far is in the queue before the probes go, and keeps them.
      await holds.forgetPasses();
      await session.drain().catch(() => undefined);
    }
    await queue.add(() => this.remove(probed, why));
  }

  /** From within the queue. Never rejects. */
  async remove(probed: ProbedModule, why: DetachReason): Promise<void> {
    // Meanwhile a process may have begun.
    if (this.closed || (why === 'idle' && probed.pids.size > 0)) return;
    const { modules, processes, onNotice } = this.options;
    try {
      await modules.remove(probed, why);
    } catch (error) {
      const message = `probes of ${probed.exe} could not be taken back: ${String(error)}`;
      onNotice({ code: 'PROBES_NOT_REMOVED', message }, probed.rule);
    }
    processes.unprobe(probed);
  }
}
