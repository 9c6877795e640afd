/** Which probes a process may have died of. */
import { statSync } from 'node:fs';
import type { UnderspanError } from '../errors.js';
import { duration, plural } from '../sinks/tree-format.js';
import type { ProcessRecord } from '../spans/call.js';
import { crashOf, type Crashes, isSoon } from './crashes.js';
import type { ProbedModule } from './probed-module.js';

/** Probes of which a process may have died, and why they are not attached again at once. */
export interface Blamed {
  probed: ProbedModule;
  error: UnderspanError;
}

export interface ProcessEnd {
  pid: number;
  /** By CLOCK_MONOTONIC. */
  endNs: bigint;
  /** As wait(2) tells it; 0 also where it is not known. */
  exitCode: number;
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

  ended(end: ProcessEnd, all: Iterable<ProbedModule>, executed?: ProcessRecord): Blamed[] {
    const { pid, endNs, exitCode } = end;
    const links = this.links.get(pid) ?? new Map<ProbedModule, bigint>();
    this.links.delete(pid);
    if (exitCode === 0) return [];
    // Where probes are there for whoever comes, it may have ended before it was linked to them.
    for (const probed of executed ? all : []) {
      if (probed.whole && !links.has(probed) && isOf(probed, executed as ProcessRecord)) {
        links.set(probed, (executed as ProcessRecord).timeNs);
      }
    }
    return [...links].flatMap(([probed, at]) => {
      const how = crashOf(exitCode, probed.attachment.plan.kind === 'go');
      if (how === null || !isSoon(at, endNs)) return [];
      const when = endNs > at ? `${duration(Number(endNs - at))} after` : 'while';
      return this.blame(probed, `process ${pid} ${how} ${when}`);
    });
  }

  private blame(probed: ProbedModule, how: string): Blamed[] {
    const { role, exe, crashKey: key, attachment } = probed;
    // No probe of the kernel is in the way of the process's own code.
    if (key === null || role.kind === 'kernel') return [];
    const count = attachment.plan.functions.length;
    const were = count === 1 ? 'was' : 'were';
    this.crashes.remember(key, `${how} ${plural(count, 'function')} of ${exe} ${were} probed`);
    const error = this.crashes.refusal(key);
    return error ? [{ probed, error }] : [];
  }
}

/** The kernel's device need not be that of stat(2); its inode and its ctime are. */
function isOf({ file }: ProbedModule, { inode, changedNs }: ProcessRecord): boolean {
  if (!file) return false;
  const found = statSync(file.path, { bigint: true, throwIfNoEntry: false });
  return found?.ino === inode && found.ctimeNs === changedNs;
}
