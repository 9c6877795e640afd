import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { test, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { BpfMap } from '../../src/native/native.js';
import { HoldGuard } from '../../src/session/hold-guard.js';
import { Holds } from '../../src/session/holds.js';
import { fileKey } from '../../src/spans/records.generated.js';
import { Procfs } from '../../src/targets/procfs.js';
import { until } from '../tools/agent.js';
import { goesOn, heldEvent, stateOf, stoppedInExec } from '../tools/held.js';

const NOW = (): bigint => process.hrtime.bigint();
const HOLDER = fileURLToPath(new URL('../tools/holder.js', import.meta.url));

/** Others' processes are left alone, but for `seen`. */
class Seen extends Procfs {
  seen: number[] = [];
  /** By pid: it has become another process. */
  readonly reused = new Set<number>();

  override pids(): number[] {
    return this.seen;
  }

  override stat(pid: number): ReturnType<Procfs['stat']> {
    const stat = super.stat(pid);
    return this.reused.has(pid) ? { ...stat, startTime: stat.startTime + 1 } : stat;
  }
}

class Kernel {
  holdUntil = 0n;
  passes = 0;
  closed = false;
  readonly procfs = new Seen();
  readonly holds = new Holds({
    holdUntil: this.map((value) => (this.holdUntil = value.readBigUInt64LE())),
    holdNames: this.map(() => undefined),
    letPass: this.map(() => this.passes++),
    procfs: this.procfs,
    onNotice: () => undefined,
  });

  private map(update: (value: Buffer) => void): BpfMap {
    return {
      update: (_: Buffer, value: Buffer) => update(value),
      entries: () => {
        const keys = Buffer.alloc(this.passes * fileKey.size);
        return Promise.resolve({ keys, values: Buffer.alloc(this.passes * 4) });
      },
      delete: () => {
        if (this.closed) throw new Error('the map is closed');
        this.passes--;
        return true;
      },
    } as unknown as BpfMap;
  }

  /** As if it had stopped at its exec. */
  async held(t: TestContext, timeNs = NOW()): Promise<number> {
    const child = spawn('sleep', ['60']);
    t.after(() => child.kill('SIGKILL'));
    await once(child, 'spawn');
    child.kill('SIGSTOP');
    const { pid = 0 } = child;
    await until('stopped', () => (stateOf(pid) === 'T' ? true : null));
    this.holds.note(heldEvent(pid, timeNs));
    return pid;
  }
}

const children = (of = process.pid): number[] => {
  const text = readFileSync(`/proc/${of}/task/${of}/children`, 'utf8');
  return text.split(' ').filter(Boolean).map(Number);
};

/** A process that holds others, and can be killed as an agent can. */
class Holder {
  private constructor(
    private readonly child: ChildProcess,
    readonly guard: number,
  ) {}

  static async start(t: TestContext): Promise<Holder> {
    const child = spawn(process.execPath, [HOLDER], { stdio: ['pipe', 'pipe', 'inherit'] });
    t.after(() => child.kill('SIGKILL'));
    const guard = await until('it has a guard', () => children(child.pid)[0] ?? null);
    return new Holder(child, guard);
  }

  async hold(...pids: number[]): Promise<void> {
    this.child.stdin?.write(`${pids.join(' ')}\n`);
    const [answer] = (await once(this.child.stdout ?? this.child, 'data')) as [Buffer];
    assert.equal(String(answer), 'told\n');
  }

  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await once(this.child, 'exit');
  }

  guardEnds(): Promise<true> {
    return until('the guard has ended', () => (existsSync(`/proc/${this.guard}`) ? null : true));
  }
}

test('a guard that was told to end does not end what began since', async (t) => {
  const kernel = new Kernel();
  t.after(() => kernel.holds.close());
  const guards = (): number => children().length;
  const before = guards();
  kernel.holds.set(['shop']);
  assert.equal(guards(), before + 1);
  kernel.holds.set([]);
  kernel.holds.set(['shop']);
  await until('the first guard has ended', () => (guards() === before + 1 ? true : null));
  // What its end leads to comes with the next turns of the loop.
  const began = kernel.holdUntil;
  await until('it still holds', () => (kernel.holdUntil > began ? true : null));
  assert.equal(guards(), before + 1);
});

test('nobody is held for longer than it may take', async (t) => {
  const kernel = new Kernel();
  t.after(() => kernel.holds.close());
  kernel.holds.set(['sleep']);
  const recent = await kernel.held(t);
  const long = await kernel.held(t, NOW() - 60_000_000_000n);
  await goesOn(long);
  assert.equal(stateOf(recent), 'T');
  kernel.holds.release(recent, true);
  await goesOn(recent);
  assert.equal(kernel.passes, 1);
});

test('whoever is held when it is closed goes on, and the guard lets go nobody', async (t) => {
  const kernel = new Kernel();
  const other = await stoppedInExec(t);
  const before = children();
  kernel.holds.set(['sleep']);
  const guard = children().find((pid) => !before.includes(pid)) ?? 0;
  const pid = await kernel.held(t);
  kernel.holds.close();
  assert.equal(kernel.holdUntil, 0n);
  await goesOn(pid);
  await until('the guard has ended', () => (existsSync(`/proc/${guard}`) ? null : true));
  assert.equal(stateOf(other), 'T');
});

test('the guard of one that was killed lets its own go first, and others only if nobody does', async (t) => {
  const holder = await Holder.start(t);
  const [letGo, left] = [await stoppedInExec(t), await stoppedInExec(t)];
  const own = await stoppedInExec(t);
  const begun = stateOf(letGo) + stateOf(left) + stateOf(own);
  assert.equal(begun, 'TTT');
  await holder.hold(own);
  await holder.kill();
  await goesOn(own);
  assert.equal(stateOf(letGo), 'T');
  assert.equal(stateOf(left), 'T');
  // As one that lives does. It is not the guard's affair when it is stopped again.
  process.kill(letGo, 'SIGCONT');
  await until('it sleeps', () => (stateOf(letGo) === 'S' ? true : null));
  process.kill(letGo, 'SIGSTOP');
  await goesOn(left);
  await holder.guardEnds();
  assert.equal(stateOf(letGo), 'T');
});

test('a guard knows its own however many they are, and ends once nobody is left', async (t) => {
  const holder = await Holder.start(t);
  const other = await stoppedInExec(t);
  const own = await stoppedInExec(t);
  const nobody = Array.from({ length: 4_096 }, (_, n) => 10_000_000 + n);
  await holder.hold(...nobody.slice(1), own, ...nobody.slice(0, 1));
  await holder.kill();
  await goesOn(own);
  assert.equal(stateOf(other), 'T');
  process.kill(other, 'SIGKILL');
  await holder.guardEnds();
});

test('a guard that does not read is not written to', async (t) => {
  const before = children();
  const list = Array.from({ length: 4_096 }, (_, n) => `${10_000_000 + n}:123456789`);
  let asked = 0;
  const guard = new HoldGuard({
    execCalls: [],
    held: () => (asked++, list),
    onEnd: () => undefined,
  });
  const shell = children().find((pid) => !before.includes(pid)) ?? 0;
  t.after(() => {
    process.kill(shell, 'SIGCONT');
    guard.end();
  });
  process.kill(shell, 'SIGSTOP');
  await until('stopped', () => (stateOf(shell) === 'T' ? true : null));
  let full = 0;
  await until('the pipe is full', async () => {
    full = asked;
    for (let n = 0; n < 1_000; n++) guard.tell();
    await new Promise(setImmediate);
    assert.ok(asked < 100, String(asked));
    return asked === full ? true : null;
  });
  process.kill(shell, 'SIGCONT');
  await until('the rest is told', () => (asked > full ? true : null));
  assert.equal(asked, full + 1);
});

test('who was stopped before it began, and still is when no other can hold, goes on', async (t) => {
  const kernel = new Kernel();
  t.after(() => kernel.holds.close());
  const left = await stoppedInExec(t);
  const reused = await stoppedInExec(t);
  const held = await stoppedInExec(t);
  const later = await stoppedInExec(t);
  kernel.procfs.seen = [left, reused, held];
  t.mock.timers.enable({ apis: ['setTimeout'] });
  kernel.holds.set(['sleep']);
  kernel.procfs.seen.push(later);
  kernel.procfs.reused.add(reused);
  kernel.holds.note(heldEvent(held));
  t.mock.timers.tick(10_000);
  assert.equal(stateOf(left), 'T');
  t.mock.timers.tick(1_000);
  t.mock.timers.reset();
  await goesOn(left);
  for (const pid of [reused, held, later]) assert.equal(stateOf(pid), 'T');
});

test('passes are forgotten, also while the maps are being closed', async (t) => {
  const kernel = new Kernel();
  t.after(() => kernel.holds.close());
  kernel.holds.set(['sleep']);
  for (let n = 0; n < 2; n++) kernel.holds.release(await kernel.held(t), true);
  assert.equal(kernel.passes, 2);
  await kernel.holds.forgetPasses();
  assert.equal(kernel.passes, 0);
  kernel.holds.release(await kernel.held(t), true);
  const forgotten = kernel.holds.forgetPasses();
  kernel.closed = true;
  await forgotten;
});
