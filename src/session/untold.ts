/** Processes whose beginning or end the kernel did not tell of, by what /proc says. */
import type { Procfs } from '../targets/procfs.js';
import { isRunning, type Target, tryReadTarget } from '../targets/target.js';
import type { Processes } from './processes.js';
import type { ProcessResources } from './resources.js';

export interface UntoldOptions {
  processes: Processes;
  resources: ProcessResources;
  procfs: Procfs;
}

export class Untold {
  constructor(private readonly options: UntoldOptions) {}

  /** Processes that run another program than is known, and others that may fall under a rule. */
  begun(mayFit: (pid: number) => boolean): number[] {
    const { procfs, processes } = this.options;
    return procfs.pids().filter((pid) => {
      if (pid === process.pid) return false;
      const known = processes.get(pid);
      return known ? this.isAnother(known.target) : mayFit(pid) || this.isFollowedChild(pid);
    });
  }

  ended(): Target[] {
    const { processes, procfs } = this.options;
    return [...processes.all.values()]
      .map(({ target }) => target)
      .filter((target) => !isRunning(target, procfs));
  }

  /** Another process with its pid, or the same that has executed another program. */
  private isAnother({ pid, fileId, startTime }: Target): boolean {
    const now = tryReadTarget(pid, this.options.procfs);
    if (!now || (now.fileId === fileId && now.startTime === startTime)) return false;
    this.options.resources.keepFor(pid, now.fileId);
    return true;
  }

  /** A child of a process that is followed is followed as well. */
  private isFollowedChild(pid: number): boolean {
    const { procfs, processes } = this.options;
    const child = tryReadTarget(pid, procfs);
    if (!child) return false;
    try {
      const parent = processes.get(procfs.stat(pid).parent);
      if (!parent?.rule?.followForks || !parent.rule.followExecs) return false;
      void processes.fork(child, parent).catch(() => undefined);
      return true;
    } catch {
      return false;
    }
  }
}
