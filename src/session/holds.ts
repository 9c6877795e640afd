/**
 * Processes that the kernel stops at their exec until their probes are there. Nobody may be left
 * stopped: the kernel holds only while this process says that it is at work, and a shell that
 * outlives it lets go whoever is still held.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import type { BpfMap } from '../native/native.js';
import type { Notice } from '../sinks/sink.js';
import type { ProcessRecord } from '../spans/call.js';
import { fileKey, holdName, MAX_HOLD_NAME, MAX_HOLD_NAMES } from '../spans/records.generated.js';
import type { Procfs } from '../targets/procfs.js';

/** How long the kernel goes on holding when nothing is heard of this process, and how often it is. */
const HOLD_NS = 1_000_000_000n;
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

/**
 * Reads until this process is gone, then continues what was stopped at an exec. A line tells it to
 * end without that. What is stopped for another reason is in another system call, or in none. It
 * looks again until the kernel cannot hold any more: who has just been told to stop may not have
 * stopped yet. By what the shell has built in alone, as another program would be held itself.
 */
const GUARD = `
read -r _ && exit
read -r now _ </proc/uptime
end=$((\${now%.*} + ${Number(HOLD_NS / 1_000_000_000n) + 1}))
while
  read -r now _ </proc/uptime
  for d in /proc/[0-9]*; do
    { IFS= read -r stat <"$d/stat" && read -r call _ <"$d/syscall"; } 2>/dev/null || continue
    case "\${stat##*) }" in T*) ;; *) continue ;; esac
    case " $* " in *" $call "*) kill -CONT "\${d#/proc/}" ;; esac
  done
  [ "\${now%.*}" -lt "$end" ]
do :; done`;

const SHELL = '/bin/sh';

/** Whether there is a shell to let go who is held. An image may have none. */
export function hasGuard(): boolean {
  try {
    accessSync(SHELL, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

export interface HoldsOptions {
  holdUntil: BpfMap;
  holdNames: BpfMap;
  letPass: BpfMap;
  procfs: Procfs;
  onNotice: (notice: Notice) => void;
}

export class Holds {
  private readonly held = new Map<number, ProcessRecord>();
  private guard: ChildProcess | null = null;
  private timer: NodeJS.Timeout | null = null;

  constructor(private readonly options: HoldsOptions) {}

  /** Holds processes of executables whose file names begin like these; none: nobody. */
  set(names: readonly string[]): void {
    const on = names.length > 0;
    if (this.timer) void this.forgetPasses();
    if (on) this.writeNames(names);
    if (on === (this.timer !== null)) return;
    if (!on) return this.close();
    const calls = EXEC_CALLS[process.arch] ?? [];
    // Of its own session, so that a signal to ours does not end it.
    const guard = spawn(SHELL, ['-c', GUARD, 'sh', ...calls.map(String)], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
    });
    this.guard = guard;
    guard.unref();
    guard.on('error', ({ message }) => this.lose(guard, message));
    guard.on('exit', () => this.lose(guard, 'it has ended'));
    guard.stdin.on('error', () => undefined);
    this.continueLeftOver(this.stoppedAtExec(calls), calls);
    this.beat();
    this.timer = setInterval(() => this.beat(), BEAT_MS);
  }

  /** Without the guard nobody may be held; one that was told to end may end after the next began. */
  private lose(guard: ChildProcess, why: string): void {
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
    this.held.delete(event.tgid);
    if (!event.held) return;
    if (this.timer) this.held.set(event.tgid, event);
    else proceed(event.tgid);
  }

  /** It may go on. `pass`: so may all later processes of its executable, without being held. */
  release(pid: number, pass: boolean): void {
    const event = this.held.get(pid);
    if (!event) return;
    this.held.delete(pid);
    if (pass) {
      const key = Buffer.alloc(fileKey.size);
      key.writeBigUInt64LE(event.device, fileKey.device);
      key.writeBigUInt64LE(event.inode, fileKey.inode);
      this.options.letPass.update(key, Buffer.alloc(4, 1));
    }
    proceed(pid);
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
    guard?.stdin?.end('done\n');
  }

  private beat(): void {
    const now = process.hrtime.bigint();
    this.say(now + HOLD_NS);
    for (const [pid, { timeNs }] of this.held) {
      if (now - timeNs > LONGEST_NS) this.release(pid, false);
    }
  }

  private say(until: bigint): void {
    const value = Buffer.alloc(8);
    value.writeBigUInt64LE(until);
    this.options.holdUntil.update(Buffer.alloc(4), value);
  }

  /** Processes that are stopped inside an exec. */
  private stoppedAtExec(calls: readonly number[]): number[] {
    const { procfs } = this.options;
    return procfs.pids().filter((pid) => {
      try {
        return procfs.stat(pid).state === 'T' && calls.includes(procfs.systemCall(pid));
      } catch {
        return false; // It has ended.
      }
    });
  }

  /**
   * Whoever was stopped by one before us that was killed, its guard included. Who is held by
   * another that lives is let go by that one within milliseconds.
   */
  private continueLeftOver(before: readonly number[], calls: readonly number[]): void {
    if (before.length === 0) return;
    const look = setTimeout(() => {
      for (const pid of this.stoppedAtExec(calls)) {
        if (before.includes(pid) && !this.held.has(pid)) proceed(pid);
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
