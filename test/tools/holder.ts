/**
 * Holds processes as an agent does, without BPF, until it is killed. It reads lines of pids; those
 * that nobody has pass for processes too. It answers each line once its guard has been told.
 */
import { createInterface } from 'node:readline';
import type { BpfMap } from '../../src/native/native.js';
import { Holds } from '../../src/session/holds.js';
import { Procfs, type ProcessStat } from '../../src/targets/procfs.js';
import { heldEvent } from './held.js';

class MadeUp extends Procfs {
  /** Others' processes are left alone. */
  override pids(): number[] {
    return [];
  }

  override stat(pid: number): ProcessStat {
    try {
      return super.stat(pid);
    } catch {
      return { comm: '', state: 'T', parent: 0, flags: 0, startTime: 1 };
    }
  }
}

const map = { update: () => undefined } as unknown as BpfMap;
const holds = new Holds({
  holdUntil: map,
  holdNames: map,
  letPass: map,
  procfs: new MadeUp(),
  onNotice: ({ message }) => console.log(message),
});
holds.set(['sleep']);
for await (const line of createInterface(process.stdin)) {
  for (const pid of line.split(' ')) holds.note(heldEvent(Number(pid)));
  // What is written in this turn of the loop, and what waits for that, has left this process.
  setImmediate(() => console.log('told'));
}
