import { UnderspanError } from '../errors.js';
import { hasEnded, isDenied, isGone, isKernelThread, type Procfs } from './procfs.js';

/** A process under trace: pid with its start time, so that a reused pid is another target. */
export interface Target {
  pid: number;
  /** Clock ticks from boot. */
  startTime: number;
  comm: string;
  /** Path of its executable as it sees it itself, which may lie in a container or be deleted. */
  exe: string;
  /** By which its executable can be opened from here. */
  file: string;
  /** Device and inode of its executable: targets that share it share a plan. */
  fileId: string;
  argv: string[];
}

/** Whether the target still runs, and is not another process with its pid. */
export function isRunning(target: Target, procfs: Procfs): boolean {
  try {
    const stat = procfs.stat(target.pid);
    if (stat.startTime !== target.startTime) return false;
    return !hasEnded(stat) || procfs.hasRunningThread(target.pid);
  } catch {
    return false;
  }
}

/** Reads a process as a target; throws if it is none that can be traced. */
export function readTarget(pid: number, procfs: Procfs): Target {
  let comm: string | undefined;
  try {
    const stat = procfs.stat(pid);
    comm = stat.comm;
    refuseUntraceable(pid, stat, procfs);
    const exe = procfs.exe(pid).replace(/ \(deleted\)$/, '');
    return {
      pid,
      startTime: stat.startTime,
      comm,
      exe,
      // Works for deleted files and across mount namespaces alike.
      file: procfs.path(pid, 'exe'),
      fileId: procfs.exeFileId(pid),
      argv: procfs.argv(pid),
    };
  } catch (error) {
    throw explain(error, pid, comm);
  }
}

/** The same; null where it cannot be traced, or not any more. */
export function tryReadTarget(pid: number, procfs: Procfs): Target | null {
  try {
    return readTarget(pid, procfs);
  } catch {
    return null;
  }
}

function refuseUntraceable(pid: number, stat: ReturnType<Procfs['stat']>, procfs: Procfs): void {
  const { comm } = stat;
  if (isKernelThread(stat)) {
    throw new UnderspanError(
      'unsupported',
      'KERNEL_THREAD',
      `process ${pid} (${comm}) is a thread of the kernel and has no executable`,
      'choose a process that runs a program',
    );
  }
  const group = Number(procfs.status(pid).get('Tgid') ?? pid);
  if (group !== pid) {
    throw new UnderspanError(
      'not-found',
      'IS_THREAD',
      `${pid} (${comm}) is a thread of process ${group}`,
      `a process is traced with all its threads: --pid ${group}`,
    );
  }
  if (hasEnded(stat)) {
    throw new UnderspanError(
      'not-found',
      'PROCESS_ENDED',
      `process ${pid} (${comm}) has ended; its parent ${stat.parent} has not collected it yet`,
      'choose a process that runs',
    );
  }
}

function explain(error: unknown, pid: number, comm: string | undefined): unknown {
  const options = { cause: error };
  if (isGone(error)) {
    return new UnderspanError(
      'not-found',
      'NO_SUCH_PROCESS',
      comm === undefined
        ? `there is no process ${pid}`
        : `process ${pid} (${comm}) ended while it was looked at`,
      'pids are those of this PID namespace; in a container only its own processes are seen',
      options,
    );
  }
  if (isDenied(error)) {
    return new UnderspanError(
      'not-permitted',
      'PROCESS_NOT_PERMITTED',
      `process ${pid}${comm === undefined ? '' : ` (${comm})`} may not be looked at by this user`,
      'run as root, or with CAP_SYS_PTRACE; trace doctor shows all that is missing',
      options,
    );
  }
  return error;
}
