/** Modules whose probes have been taken back for a while, with all that their processes need of them. */
import type { ProbedModule } from './probed-module.js';

interface Away {
  /** For whose sake it is away. */
  root: ProbedModule;
  /** Its links were, or are to be, those of all processes. */
  all: boolean;
}

/** What is to be probed again; `all`: in all processes. */
export interface Returning {
  probed: ProbedModule;
  all: boolean;
}

export class Suspended {
  private readonly away = new Map<ProbedModule, Away>();

  constructor(private readonly all: () => Iterable<ProbedModule>) {}

  /**
   * Returns what goes away: the module, and what else the rule has in its processes alone, since calls
   * could not be placed there without its bookkeeping. Functions of the kernel can.
   */
  begin(root: ProbedModule): ProbedModule[] {
    const gone = new Set(root.pids);
    for (const each of this.away.keys()) {
      if (isMain(each) && each.rule === root.rule) for (const pid of each.pids) gone.add(pid);
    }
    const going = this.sharing(root).filter(
      (each) => each === root || (!isMain(each) && [...each.pids].every((pid) => gone.has(pid))),
    );
    for (const each of going) {
      if (this.away.has(each)) continue;
      this.away.set(each, { root, all: each.attachment.isAttached(null) });
    }
    return going;
  }

  /** The module may be probed again, or is no more: with it comes what its processes need. */
  end(root: ProbedModule): Returning[] {
    const needed = new Set(this.sharing(root));
    const back: Returning[] = [];
    for (const [probed, away] of this.away) {
      if (away.root !== root && !(needed.has(probed) && !isMain(probed))) continue;
      this.away.delete(probed);
      back.push({ probed, all: away.all });
    }
    return back;
  }

  /** Probes for all processes are wanted, and will be there when it is back. */
  wantAll(probed: ProbedModule): void {
    const away = this.away.get(probed);
    this.away.set(probed, { root: away?.root ?? probed, all: true });
  }

  /** It is away no more. Null: it was not; else whether its probes are wanted in all processes. */
  release(probed: ProbedModule): boolean | null {
    const away = this.away.get(probed);
    this.away.delete(probed);
    return away ? away.all : null;
  }

  /** Whether its probes are to stay away from the process, or with null from all. */
  has(probed: ProbedModule, pid: number | null): boolean {
    const own = this.away.get(probed);
    if (pid === null || (own && (isMain(probed) || own.root === probed))) return own !== undefined;
    if (probed.role.kind === 'kernel') return false;
    return [...this.away].some(
      ([each, { root }]) => each === root && each.rule === probed.rule && each.pids.has(pid),
    );
  }

  /** What its rule has in its processes, itself among it. */
  sharing({ rule, pids }: ProbedModule): ProbedModule[] {
    return [...this.all()].filter(
      (each) =>
        each.rule === rule &&
        each.role.kind !== 'kernel' &&
        [...each.pids].some((pid) => pids.has(pid)),
    );
  }
}

const isMain = ({ role }: ProbedModule): boolean => role.kind === 'main';
