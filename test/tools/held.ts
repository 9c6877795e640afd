/** Processes that are stopped inside an exec, as the kernel stops them, without BPF. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { TestContext } from 'node:test';
import type { ProcessRecord } from '../../src/spans/call.js';
import { ProcessEvent } from '../../src/spans/records.generated.js';
import { Procfs } from '../../src/targets/procfs.js';
import { until } from './agent.js';

const EXEC_CALLS = [59, 322, 221, 281];
const TRIES = 300;
const procfs = new Procfs();

export const stateOf = (pid: number): string => procfs.stat(pid).state;

export const goesOn = (pid: number): Promise<true> =>
  until(`${pid} goes on`, () => (stateOf(pid) === 'T' ? null : true));

/** It is stopped as soon as there is one, which often is before its exec has come to its end. */
export async function stoppedInExec(t: TestContext): Promise<number> {
  for (let tries = 0; tries < TRIES; tries++) {
    const child: ChildProcess = spawn('sleep', ['60'], { stdio: 'ignore' });
    const { pid = 0 } = child;
    child.kill('SIGSTOP');
    await until('stopped', () => (stateOf(pid) === 'T' ? true : null));
    if (EXEC_CALLS.includes(procfs.systemCall(pid))) {
      t.after(() => child.kill('SIGKILL'));
      return pid;
    }
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  throw new Error(`none was inside its exec, of ${TRIES}`);
}

/** What the kernel says of one that it holds. */
export const heldEvent = (tgid: number, timeNs = process.hrtime.bigint()): ProcessRecord => ({
  timeNs,
  event: ProcessEvent.EXECUTED,
  tgid,
  parentTgid: 0,
  device: 1n,
  inode: 2n,
  changedNs: 3n,
  held: true,
  exitCode: 0,
});
