/** Which probes a process may have died of. */
import type { UnderspanError } from '../errors.js';
import { duration, plural } from '../sinks/tree-format.js';
import { type Crashes, deadlySignal, isSoon } from './crashes.js';
import type { ProbedModule } from './modules.js';

/** Probes of which a process may have died, and why they are not attached again at once. */
export interface Blamed {
  probed: ProbedModule;
  error: UnderspanError;
}

export class CrashWatch {
  /** When probes were attached to processes, by CLOCK_MONOTONIC. */
  private readonly links = new Map<number, Map<ProbedModule, bigint>>();

  constructor(private readonly crashes: Crashes) {}

  linked(probed: ProbedModule, pid: number): void {
    const links = this.links.get(pid) ?? new Map<ProbedModule, bigint>();
    this.links.set(pid, links.set(probed, process.hrtime.bigint()));
  }

  unlinked(probed: ProbedModule, pid: number): void {
    const links = this.links.get(pid);
    links?.delete(probed);
    if (links?.size === 0) this.links.delete(pid);
  }

  /**
   * The process has ended by this signal, or by 0. Where probes are there for whoever comes, it may
   * have ended before it was linked to them: `open` says in whose functions it was.
   */
  async ended(
    pid: number,
    endNs: bigint,
    signal: number,
    open: () => Promise<ProbedModule[]>,
  ): Promise<Blamed[]> {
    const links = this.links.get(pid) ?? new Map<ProbedModule, bigint>();
    this.links.delete(pid);
    const name = deadlySignal(signal);
    if (name === null) return [];
    const soon = [...links].filter(([, at]) => isSoon(at, endNs));
    // It has borne probes for longer.
    if (links.size > 0 && soon.length === 0) return [];
    const how = `process ${pid} died of ${name}`;
    const unlinked = (await open()).filter((probed) => !links.has(probed));
    return [
      ...soon.flatMap(([probed, at]) => {
        const when = endNs > at ? `${duration(Number(endNs - at))} after` : 'while';
        return this.blame(probed, `${how} ${when}`);
      }),
      ...unlinked.flatMap((probed) => this.blame(probed, `${how} while`)),
    ];
  }

  private blame(probed: ProbedModule, how: string): Blamed[] {
    const { role, exe, crashKey: key, attachment } = probed;
    // No probe of the kernel is in the way of the process's own code.
    if (key === null || role.kind === 'kernel') return [];
    const count = attachment.plan.functions.length;
    const were = count === 1 ? 'was' : 'were';
    const what = `${plural(count, 'function')} of ${exe} ${were} probed`;
    this.crashes.remember(key, `${how} ${what}`);
    const error = this.crashes.refusal(key);
    return error ? [{ probed, error }] : [];
  }
}
