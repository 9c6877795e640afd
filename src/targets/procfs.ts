import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { uptime } from 'node:os';
import { join } from 'node:path';
import { placeOf, type CgroupPlace } from './cgroup.js';

/** What /proc/PID/stat says, as far as it is needed. */
export interface ProcessStat {
  comm: string;
  /** One letter: R, S, D, T, Z, X. */
  state: string;
  parent: number;
  /** PF_* of the kernel. */
  flags: number;
  /** Clock ticks from boot to its start: with the pid it names a process for good. */
  startTime: number;
}

/** The kernel's PF_KTHREAD. */
const KERNEL_THREAD = 0x00200000;

export const isKernelThread = ({ flags }: ProcessStat): boolean => (flags & KERNEL_THREAD) !== 0;

/** A zombie, or one that is about to be. */
export const hasEnded = ({ state }: ProcessStat): boolean => state === 'Z' || state === 'X';

/** USER_HZ, by which /proc counts, is 100 on every architecture that matters here. */
const TICKS_PER_SECOND = 100;

/** Seconds since it was started. */
export const ageOf = ({ startTime }: ProcessStat): number =>
  uptime() - startTime / TICKS_PER_SECOND;

/** /proc, or a directory that looks like it. Errors are those of node:fs. */
export class Procfs {
  constructor(readonly root = '/proc') {}

  /** Text of a file of the process; throws what node:fs throws. */
  read(pid: number, file: string): string {
    return readFileSync(this.path(pid, file), 'utf8');
  }

  path(pid: number, file: string): string {
    return join(this.root, String(pid), file);
  }

  /** All processes, ascending; no threads. */
  pids(): number[] {
    return readdirSync(this.root)
      .filter((name) => /^[1-9]\d*$/.test(name))
      .map(Number)
      .sort((a, b) => a - b);
  }

  stat(pid: number): ProcessStat {
    return this.readStat(this.path(pid, 'stat'));
  }

  /**
   * A process whose first thread has ended may have others that still run, for a moment while it
   * ends, or for as long as they like.
   */
  hasRunningThread(pid: number): boolean {
    try {
      return readdirSync(this.path(pid, 'task')).some((thread) => {
        try {
          return !hasEnded(this.readStat(this.path(pid, `task/${thread}/stat`)));
        } catch {
          return false;
        }
      });
    } catch {
      return false;
    }
  }

  private readStat(path: string): ProcessStat {
    const text = readFileSync(path, 'latin1');
    // The name may hold spaces and parentheses: it ends at the last one.
    const end = text.lastIndexOf(')');
    const fields = text.slice(end + 2).split(' ');
    return {
      comm: Buffer.from(text.slice(text.indexOf('(') + 1, end), 'latin1').toString('utf8'),
      state: fields[0] ?? '',
      parent: Number(fields[1]),
      flags: Number(fields[6]),
      startTime: Number(fields[19]),
    };
  }

  /** Fields of /proc/PID/status by name. */
  status(pid: number | 'self'): Map<string, string> {
    const text = readFileSync(join(this.root, String(pid), 'status'), 'utf8');
    const fields = text.split('\n').map((line) => line.split(/:\s*/, 2));
    return new Map(fields.map(([name, value]) => [name ?? '', value ?? '']));
  }

  /** Number of the system call that the process is in; -1: in none, or it runs. */
  systemCall(pid: number): number {
    const [number = ''] = readFileSync(this.path(pid, 'syscall'), 'latin1').split(' ');
    return /^\d+$/.test(number) ? Number(number) : -1;
  }

  /** The executable as the process sees it, " (deleted)" and all. */
  exe(pid: number): string {
    return readlinkSync(this.path(pid, 'exe'));
  }

  /** The same for every path that leads to the executable, also in other mount namespaces. */
  exeFileId(pid: number): string {
    return fileId(this.path(pid, 'exe'));
  }

  argv(pid: number): string[] {
    const text = readFileSync(this.path(pid, 'cmdline'), 'utf8');
    return text === '' ? [] : text.replace(/\0$/, '').split('\0');
  }

  /** The environment that the process was started with. */
  environment(pid: number): Map<string, string> {
    const variables = new Map<string, string>();
    for (const line of readFileSync(this.path(pid, 'environ'), 'utf8').split('\0')) {
      const equals = line.indexOf('=');
      const name = line.slice(0, equals);
      // getenv() takes the first of several.
      if (equals > 0 && !variables.has(name)) variables.set(name, line.slice(equals + 1));
    }
    return variables;
  }

  cgroup(pid: number): CgroupPlace {
    return placeOf(readFileSync(this.path(pid, 'cgroup'), 'utf8'));
  }

  /** Id of the container that the process runs in, or null. */
  container(pid: number): string | null {
    return this.cgroup(pid).containers.at(-1) ?? null;
  }
}

/** Device and inode; they may not fit a number (overlayfs puts the layer into the high bits). */
export function fileId(path: string): string {
  const { dev, ino } = statSync(path, { bigint: true });
  return `${dev}:${ino}`;
}

const errnoOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;

/** The process has ended, or never was. */
export const isGone = (error: unknown): boolean =>
  errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ESRCH';

export const isDenied = (error: unknown): boolean =>
  errnoOf(error) === 'EACCES' || errnoOf(error) === 'EPERM';
