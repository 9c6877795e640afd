/**
 * What processes have died of soon after it was attached, or this program while it attached it: it
 * is not attached again at once, neither by this program nor by the next one.
 */
import { createHash } from 'node:crypto';
import { constants } from 'node:os';
import { UnderspanError } from '../errors.js';
import { BootCache } from '../native/boot-cache.js';
import type { ModuleFacts } from '../native/native.js';
import type { ModulePlan } from '../plan/plan.js';
import { plural } from '../sinks/tree-format.js';
import { hasEnded, Procfs } from '../targets/procfs.js';
import type { TraceRule } from './rule.js';

/** How soon, in ns. */
const SOON_NS = 2_000_000_000n;
const FIRST_WAIT_MS = 5 * 60_000;
const DAY_MS = 24 * 60 * 60_000;
export const CRASHED = 'CRASHED_BEFORE';
const CRASH = 'crash-';
const MARK = 'attaching-';
/** Crashes that are remembered at once. */
const MOST = 256;

/** By these the kernel, or the program itself, ends what went wrong in it. */
const DEADLY = (['SIGSEGV', 'SIGILL', 'SIGTRAP', 'SIGBUS', 'SIGABRT', 'SIGSYS'] as const).map(
  (name) => ({ name, number: constants.signals[name] }),
);

interface Crash {
  /** With a wait between them. */
  times: number;
  /** In ms since the host booted. */
  at: number;
  what: string;
}

/** Left by whoever attaches, until that is done. */
interface Mark {
  key: string;
  what: string;
  pid: number;
  startTime: number;
}

/** Go's runtime catches those signals, and exits like this. */
const GO_STATUS = 2;

/** How a process has ended in which something went wrong, by its exit code; null: it need not have. */
export function crashOf(exitCode: number, isGo: boolean): string | null {
  const name = DEADLY.find(({ number }) => number === (exitCode & 0x7f))?.name;
  if (name !== undefined) return `died of ${name}`;
  return isGo && exitCode === GO_STATUS << 8 ? `crashed (status ${GO_STATUS})` : null;
}

/** Whether a process that ended then may have died of what was attached at that time. */
export const isSoon = (attachedNs: bigint, endNs: bigint): boolean => endNs - attachedNs < SOON_NS;

/** The same file, wherever it lies. */
export function fileKey({ buildId, stamp }: ModuleFacts, exe: string): unknown {
  // Each container has a device of its own.
  const [, size, modified] = stamp.split(' ');
  return buildId ?? [exe, size, modified];
}

/**
 * The same probes in the same file, wherever it lies. Null: they are for our bookkeeping alone, as
 * all programs have them that use the library.
 */
export function crashKey(
  { module, functions, support }: ModulePlan,
  exe: string,
  { options }: Pick<TraceRule, 'options'>,
): string | null {
  if (functions.length === 0) return null;
  const { emulateReturns, returnTrampoline } = options;
  const what = [
    fileKey(module.facts, exe),
    [emulateReturns, returnTrampoline],
    functions.map(({ entry, returns, trampoline }) => [
      entry.address,
      trampoline,
      returns.map(({ address }) => address),
    ]),
    support.map(({ address }) => address),
  ];
  return createHash('sha256').update(JSON.stringify(what)).digest('hex').slice(0, 32);
}

const sinceBoot = (): number => Number(process.hrtime.bigint() / 1_000_000n);

export class Crashes {
  /** Where nothing can be written, it is remembered for as long as this program runs. */
  private readonly unwritten = new Map<string, Crash>();
  private readonly marks = new Set<string>();
  private made = 0;

  constructor(
    private readonly cache = new BootCache(),
    private readonly procfs = new Procfs(),
    private readonly now = sinceBoot,
  ) {
    this.collect();
  }

  /** Why this is not to be attached now; null: it may be. */
  refusal(key: string): UnderspanError | null {
    const crash = this.read(key);
    const left = crash ? crash.at + waitOf(crash) - this.now() : 0;
    if (!crash || left <= 0) return null;
    const path = this.cache.pathOf(CRASH + key);
    return new UnderspanError(
      'failed',
      CRASHED,
      `${crash.what}: they are not probed again for ${lasting(left)}`,
      `trace other functions, or wait; to try these all the same: rm ${path}`,
    );
  }

  /** It happened: from now on refusal() tells of it. */
  remember(key: string, what: string): void {
    const before = this.read(key);
    const now = this.now();
    const age = before ? now - before.at - waitOf(before) : Infinity;
    // Others that died of the same, while it was still attached to them.
    if (age < 0) return;
    const crash: Crash = { times: age < DAY_MS ? (before?.times ?? 0) + 1 : 1, at: now, what };
    if (this.cache.write(CRASH + key, null, crash)) this.cache.prune(CRASH, MOST);
    else this.unwritten.set(key, crash);
  }

  /** Leaves a mark that tells the next one of it, should this program end before `attach` has. */
  async marked(key: string | null, what: string, attach: () => Promise<void>): Promise<void> {
    if (key === null) return attach();
    const { pid } = process;
    const name = `${MARK}${pid}-${++this.made}`;
    const mark: Mark = { key, what, pid, startTime: this.procfs.stat(pid).startTime };
    if (this.marks.size === 0) process.on('exit', this.onExit);
    this.marks.add(name);
    this.cache.write(name, null, mark);
    try {
      await attach();
    } finally {
      this.cache.remove(name);
      this.marks.delete(name);
      if (this.marks.size === 0) process.off('exit', this.onExit);
    }
  }

  /** Whoever asks this program to end does not kill it. */
  private readonly onExit = (): void => {
    for (const name of this.marks) this.cache.remove(name);
  };

  /** Of those that were killed, or have crashed. */
  private collect(): void {
    for (const name of this.cache.names(MARK)) {
      const mark = this.cache.read(name, null);
      if (isMark(mark) && this.isRunning(mark)) continue;
      this.cache.remove(name);
      if (isMark(mark)) this.remember(mark.key, mark.what);
    }
  }

  private isRunning({ pid, startTime }: Mark): boolean {
    try {
      const stat = this.procfs.stat(pid);
      return stat.startTime === startTime && !hasEnded(stat);
    } catch {
      return false;
    }
  }

  private read(key: string): Crash | null {
    const crash = this.cache.read(CRASH + key, null);
    return isCrash(crash) ? crash : (this.unwritten.get(key) ?? null);
  }
}

/** Another version may have written something else. */
function isCrash(value: unknown): value is Crash {
  const { times, at, what } = (value ?? {}) as Record<string, unknown>;
  return typeof times === 'number' && typeof at === 'number' && typeof what === 'string';
}

function isMark(value: unknown): value is Mark {
  const { key, what, pid, startTime } = (value ?? {}) as Record<string, unknown>;
  const isPid = typeof pid === 'number' && typeof startTime === 'number';
  return isPid && typeof key === 'string' && /^\w+$/.test(key) && typeof what === 'string';
}

/** What a mark says, should it be found. */
export const diedAttaching = (exe: string, { functions }: ModulePlan): string =>
  `a tracer was killed while it attached to ${plural(functions.length, 'function')} of ${exe}`;

const waitOf = ({ times }: Crash): number => Math.min(FIRST_WAIT_MS * 2 ** (times - 1), DAY_MS);

function lasting(ms: number): string {
  const minutes = Math.ceil(ms / 60_000);
  return minutes < 120 ? `${minutes} min` : `${Math.ceil(minutes / 60)} h`;
}
