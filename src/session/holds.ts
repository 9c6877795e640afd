/**
 * Processes that the kernel stops at their exec until their probes are there. Nobody may be left
 * stopped: the kernel holds only while this process says that it is at work, and a guard that
 * outlives it lets go whoever is still held.
 */
import type { BpfMap } from '../native/native.js';
import type { Notice } from '../sinks/sink.js';
import type { ProcessRecord } from '../spans/call.js';
import { fileKey, holdName, MAX_HOLD_NAME, MAX_HOLD_NAMES } from '../spans/records.generated.js';
import type { Procfs } from '../targets/procfs.js';
import { guardedId, HOLD_NS, HoldGuard } from './hold-guard.js';

/** How often the kernel hears of this process. */
const BEAT_MS = 250;
/** However long its probes take, nobody is stopped for longer: whoever started it waits for it. */
const LONGEST_NS = 10_000_000_000n;
/** Whoever has been stopped for so long is held by nobody that lives. */
const LEFT_OVER_MS = Number(LONGEST_NS / 1_000_000n) + 1_000;

/** execve and execveat, in which a process is that was stopped at its exec. */
const EXEC_CALLS: Partial<Record<NodeJS.Architecture, readonly number[]>> = {
  x64: [59, 322],
  arm64: [221, 281],
};
const CALLS = EXEC_CALLS[process.arch] ?? [];

export interface HoldsOptions {
  holdUntil: BpfMap;
  holdNames: BpfMap;
  letPass: BpfMap;
  procfs: Procfs;
  onNotice: (notice: Notice) => void;
}

interface Held {
  event: ProcessRecord;
  /** As the guard knows it; null: it has ended. */
  id: string | null;
}

export class Holds {
  private readonly held = new Map<number, Held>();
  private guard: HoldGuard | null = null;
  private timer: NodeJS.Timeout | null = null;

  constructor(private readonly options: HoldsOptions) {}

  /** Holds processes of executables whose file names begin like these; none: nobody. */
  set(names: readonly string[]): void {
    const on = names.length > 0;
    if (this.timer) void this.forgetPasses();
    if (on) this.writeNames(names);
    if (on === (this.timer !== null)) return;
    if (!on) return this.close();
    const guard: HoldGuard = new HoldGuard({
      execCalls: CALLS,
      held: () => [...this.held.values()].flatMap(({ id }) => id ?? []),
      onEnd: (why) => this.lose(guard, why),
    });
    this.guard = guard;
    this.continueLeftOver(this.stoppedAtExec());
    this.beat();
    this.timer = setInterval(() => this.beat(), BEAT_MS);
  }

  /** Without the guard nobody may be held; one that was told to end may end after the next began. */
  private lose(guard: HoldGuard, why: string): void {
    if (this.guard !== guard) return;
    this.close();
    this.options.onNotice({
      code: 'HOLD_LOST',
      message: `processes are no longer held until they are attached: the shell that would let them go on without this process is not there (${why})`,
      hint: 'once the cause is gone, start anew, or take hold out and in again',
    });
  }

  private writeNames(names: readonly string[]): void {
    const wanted = [...new Set(names)].slice(0, MAX_HOLD_NAMES);
    for (let index = 0; index < MAX_HOLD_NAMES; index++) {
      const key = Buffer.alloc(4);
      const value = Buffer.alloc(holdName.size);
      const prefix = Buffer.from(wanted[index] ?? '').subarray(0, MAX_HOLD_NAME - 1);
      key.writeUInt32LE(index);
      value.writeUInt32LE(prefix.length, holdName.length);
      prefix.copy(value, holdName.prefix);
      this.options.holdNames.update(key, value);
    }
  }

  /** A process has executed a program; it may be held. */
  note(event: ProcessRecord): void {
    const was = this.held.delete(event.tgid);
    if (event.held && this.timer) {
      this.held.set(event.tgid, { event, id: this.idOf(event.tgid) });
      this.guard?.tell();
      return;
    }
    if (was) this.guard?.tell();
    if (event.held) proceed(event.tgid);
  }

  /** It may go on. `pass`: so may all later processes of its executable, without being held. */
  release(pid: number, pass: boolean): void {
    const event = this.held.get(pid)?.event;
    if (!event) return;
    this.held.delete(pid);
    if (pass) {
      const key = Buffer.alloc(fileKey.size);
      key.writeBigUInt64LE(event.device, fileKey.device);
      key.writeBigUInt64LE(event.inode, fileKey.inode);
      key.writeBigUInt64LE(event.changedNs, fileKey.changedNs);
      this.options.letPass.update(key, Buffer.alloc(4, 1));
    }
    proceed(pid);
    this.guard?.tell();
  }

  /** Rules or probes have changed: what was let pass may have to be held. Never rejects. */
  async forgetPasses(): Promise<void> {
    const { letPass } = this.options;
    try {
      const { keys } = await letPass.entries();
      for (let at = 0; at < keys.length; at += fileKey.size) {
        letPass.delete(keys.subarray(at, at + fileKey.size));
      }
    } catch {
      // Closed: nothing is held any more.
    }
  }

  close(): void {
    if (!this.timer) return;
    clearInterval(this.timer);
    this.timer = null;
    this.say(0n);
    for (const pid of this.held.keys()) proceed(pid);
    this.held.clear();
    const { guard } = this;
    this.guard = null;
    guard?.end();
  }

  private beat(): void {
    const now = process.hrtime.bigint();
    this.say(now + HOLD_NS);
    for (const [pid, { event }] of this.held) {
      if (now - event.timeNs > LONGEST_NS) this.release(pid, false);
    }
  }

  private say(until: bigint): void {
    const value = Buffer.alloc(8);
    value.writeBigUInt64LE(until);
    this.options.holdUntil.update(Buffer.alloc(4), value);
  }

  private idOf(pid: number): string | null {
    try {
      return guardedId(pid, this.options.procfs.stat(pid).startTime);
    } catch {
      return null;
    }
  }

  /** Processes that are stopped inside an exec: ids by pid. */
  private stoppedAtExec(): Map<number, string> {
    const { procfs } = this.options;
    const stopped = new Map<number, string>();
    for (const pid of procfs.pids()) {
      try {
        const { state, startTime } = procfs.stat(pid);
        if (state !== 'T' || !CALLS.includes(procfs.systemCall(pid))) continue;
        stopped.set(pid, guardedId(pid, startTime));
      } catch {
        // It has ended.
      }
    }
    return stopped;
  }

  /**
   * Whoever was stopped by one before us that was killed, its guard included. Who is held by
   * another that lives is let go by that one long before.
   */
  private continueLeftOver(before: ReadonlyMap<number, string>): void {
    if (before.size === 0) return;
    const look = setTimeout(() => {
      for (const [pid, id] of this.stoppedAtExec()) {
        if (before.get(pid) === id && !this.held.has(pid)) proceed(pid);
      }
    }, LEFT_OVER_MS);
    look.unref();
  }
}

function proceed(pid: number): void {
  try {
    process.kill(pid, 'SIGCONT');
  } catch {
    // It has ended.
  }
}
