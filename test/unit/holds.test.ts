import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { test, type TestContext } from 'node:test';
import type { BpfMap } from '../../src/native/native.js';
import { Holds } from '../../src/session/holds.js';
import { ProcessEvent } from '../../src/spans/records.generated.js';
import { Procfs } from '../../src/targets/procfs.js';
import { until } from '../tools/agent.js';

const NOW = (): bigint => process.hrtime.bigint();

class Kernel {
  holdUntil = 0n;
  passes = 0;
  closed = false;
  readonly holds = new Holds({
    holdUntil: this.map((value) => (this.holdUntil = value.readBigUInt64LE())),
    holdNames: this.map(() => undefined),
    letPass: this.map(() => this.passes++),
    // Others' processes are left alone.
    procfs: { pids: () => [] } as unknown as Procfs,
    onNotice: () => undefined,
  });

  private map(update: (value: Buffer) => void): BpfMap {
    return {
      update: (_: Buffer, value: Buffer) => update(value),
      entries: () => Promise.resolve({ keys: Buffer.alloc(16), values: Buffer.alloc(4) }),
      delete: () => {
        if (this.closed) throw new Error('the map is closed');
        return true;
      },
    } as unknown as BpfMap;
  }

  /** As if it had stopped at its exec. */
  async held(t: TestContext, timeNs = NOW()): Promise<ChildProcess> {
    const child = spawn('sleep', ['60']);
    t.after(() => child.kill('SIGKILL'));
    await once(child, 'spawn');
    child.kill('SIGSTOP');
    await until('stopped', () => (stateOf(child) === 'T' ? true : null));
    this.holds.note({
      timeNs,
      event: ProcessEvent.EXECUTED,
      tgid: child.pid ?? 0,
      parentTgid: 0,
      device: 1n,
      inode: 2n,
      held: true,
    });
    return child;
  }
}

const stateOf = ({ pid = 0 }: ChildProcess): string => new Procfs().stat(pid).state;

const goesOn = (child: ChildProcess): Promise<true> =>
  until('it goes on', () => (stateOf(child) === 'T' ? null : true));

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

function children(): string[] {
  const text = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8');
  return text.split(' ').filter((pid) => pid !== '');
}

test('nobody is held for longer than it may take', async (t) => {
  const kernel = new Kernel();
  t.after(() => kernel.holds.close());
  kernel.holds.set(['sleep']);
  const recent = await kernel.held(t);
  const long = await kernel.held(t, NOW() - 60_000_000_000n);
  await goesOn(long);
  assert.equal(stateOf(recent), 'T');
  kernel.holds.release(recent.pid ?? 0, true);
  await goesOn(recent);
  assert.equal(kernel.passes, 1);
});

test('whoever is held when it is closed goes on', async (t) => {
  const kernel = new Kernel();
  kernel.holds.set(['sleep']);
  const child = await kernel.held(t);
  kernel.holds.close();
  assert.equal(kernel.holdUntil, 0n);
  await goesOn(child);
});

test('passes are forgotten also while the maps are being closed', async () => {
  const kernel = new Kernel();
  const forgotten = kernel.holds.forgetPasses();
  kernel.closed = true;
  await forgotten;
});
