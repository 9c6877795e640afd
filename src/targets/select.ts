import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Selection } from '../engine.js';
import { UnderspanError } from '../errors.js';
import { mayReadOthers, missingCapabilities, READ_OTHERS } from '../native/host.js';
import { interpreterOf } from './executable.js';
import { ageOf, fileId, hasEnded, isDenied, isGone, isKernelThread, Procfs } from './procfs.js';
import { serviceName } from './resource.js';
import { readTarget, type Target } from './target.js';

const POLL_MS = 100;

export interface SelectOptions {
  procfs?: Procfs;
  /** Ends waiting. */
  signal?: AbortSignal;
  /** Called once, if there is nothing yet and it has to wait. */
  onWait?: (description: string) => void;
}

/** The processes that fit a selection now; if there is none, waits for a first or throws. */
export async function selectTargets(
  selection: Selection,
  { procfs = new Procfs(), signal, onWait }: SelectOptions = {},
): Promise<Target[]> {
  refuseBadNames(selection);
  const deadline = performance.now() + selection.waitMs;
  for (let waited = false; ; waited = true) {
    const { targets, denied, problem } = look(selection, procfs);
    if (targets.length > 0) return targets;
    if (performance.now() >= deadline || signal?.aborted) {
      throw problem ?? nothingFits(selection, denied, waited, procfs);
    }
    if (problem && problem.kind !== 'not-found') throw problem;
    if (!waited) onWait?.(describeSelection(selection));
    await sleep(POLL_MS, undefined, signal ? { signal } : {}).catch(() => undefined);
  }
}

/** Whether a process that started later, or runs another program now, fits too. */
export function fits(selection: Selection, pid: number, procfs = new Procfs()): boolean {
  try {
    return candidate(selection, pid, procfs);
  } catch {
    return false;
  }
}

/** How long after its start a process may publish which service it is, in seconds. */
const PATIENCE_S = 30;

/** Whether a process fits but for its service, which it may still publish. */
export function mayFitSoon(selection: Selection, pid: number, procfs = new Procfs()): boolean {
  if (selection.services.length === 0) return false;
  try {
    return (
      ageOf(procfs.stat(pid)) < PATIENCE_S && candidate({ ...selection, services: [] }, pid, procfs)
    );
  } catch {
    return false;
  }
}

interface Look {
  targets: Target[];
  /** Processes that could not be judged for lack of permission. */
  denied: number;
  /** Why a pid that was asked for is no target. */
  problem: UnderspanError | null;
}

function look(selection: Selection, procfs: Procfs): Look {
  const found: Look = { targets: [], denied: 0, problem: null };
  const named = selection.pids.length > 0;
  for (const pid of named ? new Set(selection.pids) : procfs.pids()) {
    try {
      if (named) {
        // What is wrong with a pid comes before whether it fits.
        const target = readTarget(pid, procfs);
        if (candidate(selection, pid, procfs)) found.targets.push(target);
      } else if (pid !== process.pid && candidate(selection, pid, procfs)) {
        found.targets.push(readTarget(pid, procfs));
      }
    } catch (error) {
      if (isDenied(error)) found.denied++;
      else if (error instanceof UnderspanError && named) found.problem ??= error;
      else if (error instanceof UnderspanError && error.kind === 'not-permitted') found.denied++;
      else if (!(error instanceof UnderspanError) && !isGone(error)) throw error;
    }
  }
  // One pid of several that does not exist is a mistake too.
  if (found.problem) found.targets = [];
  return found;
}

/** Looks at what is cheap to read first. Throws what node:fs throws. */
function candidate(selection: Selection, pid: number, procfs: Procfs): boolean {
  const { pids, exes, comms, containers, services } = selection;
  if (pids.length > 0 && !pids.includes(pid)) return false;
  const stat = procfs.stat(pid);
  if (isKernelThread(stat) || hasEnded(stat)) return false;
  if (comms.length > 0 && !comms.some((name) => stat.comm === truncated(name))) return false;
  if (exes.length > 0 && !runsAny(exes, pid, procfs)) return false;
  if (containers.length > 0) {
    const id = procfs.container(pid);
    if (id === null || !containers.some((wanted) => id.startsWith(wanted))) return false;
  }
  if (services.length > 0) {
    const service = serviceName(pid, procfs);
    if (service === undefined || !services.includes(service)) return false;
  }
  return true;
}

/** The kernel keeps 15 bytes of a thread's name (TASK_COMM_LEN less one). */
const truncated = (name: string): string => Buffer.from(name).subarray(0, 15).toString();

function runsAny(exes: readonly string[], pid: number, procfs: Procfs): boolean {
  const seen = procfs.exe(pid).replace(/ \(deleted\)$/, '');
  return namesFile(exes, seen, procfs.exeFileId(pid));
}

/** Whether one of the paths leads to this executable, which its processes see as `exe`. */
export function namesFile(paths: readonly string[], exe: string, id: string): boolean {
  return paths.some((path) => {
    const absolute = resolve(path);
    // By its own path for what runs in a container, by the file for links to it.
    return exe === absolute || (existsSync(absolute) && fileId(absolute) === id);
  });
}

function refuseBadNames({ pids, containers }: Selection): void {
  const pid = pids.find((value) => !Number.isInteger(value) || value <= 0 || value > 0x7fffffff);
  if (pid !== undefined) {
    throw new UnderspanError('usage', 'PID_INVALID', `${pid} cannot be the id of a process`);
  }
  const container = containers.find((id) => !/^[0-9a-f]{4,64}(-\d*)?$/.test(id));
  if (container !== undefined) {
    throw new UnderspanError(
      'usage',
      'CONTAINER_INVALID',
      `'${container}' is not the id of a container`,
      'an id is hexadecimal; its first 12 digits are enough (at least 4)',
    );
  }
}

type Kinds = Pick<Selection, 'pids' | 'exes' | 'comms' | 'containers' | 'services'>;

/** "exe /bin/shop or /bin/order and service checkout". */
export function describeSelection({ pids, exes, comms, containers, services }: Kinds): string {
  const kinds: [string, readonly (string | number)[]][] = [
    ['pid', pids],
    ['exe', exes],
    ['comm', comms],
    ['container', containers],
    ['service', services],
  ];
  return kinds
    .filter(([, values]) => values.length > 0)
    .map(([kind, values]) => `${kind} ${values.join(' or ')}`)
    .join(' and ');
}

function nothingFits(
  selection: Selection,
  denied: number,
  waited: boolean,
  procfs: Procfs,
): UnderspanError {
  const what = `no process fits ${describeSelection(selection)}${waited ? ', and none came' : ''}`;
  // Some processes are closed even to root; then it is not for lack of rights that nothing fits.
  const missing: string[] = missingCapabilities(procfs.root).filter(
    (name) => name === 'CAP_SYS_PTRACE',
  );
  if (!mayReadOthers(procfs.root)) missing.push(READ_OTHERS);
  if (denied > 0 && missing.length > 0) {
    return new UnderspanError(
      'not-permitted',
      'NOTHING_FITS',
      `${what}, but ${denied} could not be looked at by this user`,
      `run as root, or with ${missing.join(' and ')}; trace doctor shows all that is missing`,
    );
  }
  return new UnderspanError('not-found', 'NOTHING_FITS', what, nothingFitsHint(selection, waited));
}

function nothingFitsHint({ exes, pids }: Selection, waited: boolean): string {
  for (const path of exes) {
    const interpreter = existsSync(path) ? interpreterOf(path) : null;
    if (interpreter !== null) {
      return `${path} is a script: its processes run ${interpreter}; choose one of them by --pid`;
    }
    if (!existsSync(path)) return `there is no file ${resolve(path)} here; give its full path`;
  }
  if (pids.length > 0) return 'all kinds of selection must hold for one process';
  return waited ? 'start it, or wait longer' : '--wait waits until one starts';
}
