/** Modules whose probes have been taken back for a while, with all that their processes need of them. */
import type { ProbedModule } from './modules.js';

export class Suspended {
  /** And whether their links were those of all processes. */
  private readonly away = new Map<ProbedModule, boolean>();

  constructor(private readonly all: () => Iterable<ProbedModule>) {}

  /**
   * The module, and what else the rule has in its processes: calls could not be placed there without
   * its bookkeeping. Functions of the kernel can.
   */
  companions(probed: ProbedModule): ProbedModule[] {
    const { rule, pids } = probed;
    return [...this.all()].filter(
      (each) =>
        each === probed ||
        (each.rule === rule &&
          each.role.kind !== 'kernel' &&
          [...each.pids].some((pid) => pids.has(pid))),
    );
  }

  add(probed: ProbedModule): void {
    if (!this.away.has(probed)) this.away.set(probed, probed.attachment.isAttached(null));
  }

  /** Probes for all processes are wanted, and will be there when it is back. */
  wantAll(probed: ProbedModule): void {
    this.away.set(probed, true);
  }

  /** True: its links were, or are to be, those of all processes. */
  delete(probed: ProbedModule): boolean {
    const all = this.away.get(probed) ?? false;
    this.away.delete(probed);
    return all;
  }

  /** Whether its probes are to stay away from the process, or with null from all. */
  has(probed: ProbedModule, pid: number | null): boolean {
    if (this.away.has(probed)) return true;
    if (pid === null || probed.role.kind === 'kernel') return false;
    return [...this.away.keys()].some(({ rule, pids }) => rule === probed.rule && pids.has(pid));
  }
}
