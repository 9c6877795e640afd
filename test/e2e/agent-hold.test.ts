/** Processes that are held at their exec: by which agent, until when, and of which executables. */
import assert from 'node:assert/strict';
import { copyFile, mkdir, readFile, rename, stat } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { AgentProcess, until } from '../tools/agent.js';
import { stateOf } from '../tools/held.js';
import { inFolder } from '../tools/folder.js';
import { buildTarget } from '../tools/go.js';
import { RunningProcess, sleep } from '../tools/process.js';
import { requireBpf } from '../tools/require.js';

const FUNCTIONS = ['main.work', 'main.step', 'main.descend', 'main.grow'];
const ROUNDS = 5;
/** Executables, until a process of one is held at the right moment. */
const TRIES = 10;

/** A process of `tiny`, and what it counts itself. */
class Tiny {
  private constructor(
    private readonly process: RunningProcess,
    private readonly file: string,
  ) {}

  static async start(binary: string): Promise<Tiny> {
    const file = `${binary}-${performance.now()}.json`;
    return new Tiny(await RunningProcess.start(binary, [file, String(ROUNDS), '50ms']), file);
  }

  get held(): boolean {
    return this.process.running && stateOf(this.process.pid) === 'T';
  }

  /** Whether it comes to be held before it has ended. */
  async isHeld(): Promise<boolean> {
    while (this.process.running && !this.held) await sleep(1);
    return this.held;
  }

  async counted(): Promise<Record<string, number>> {
    assert.equal(await this.process.ended(), 0, this.process.output);
    const { calls } = JSON.parse(await readFile(this.file, 'utf8')) as {
      calls: Record<string, number>;
    };
    return calls;
  }
}

/** An agent that holds processes of executables of its own, which nobody has run yet. */
class Holding {
  private next = 0;

  private constructor(
    readonly agent: AgentProcess,
    private readonly folder: string,
  ) {}

  static async start(folder: string, name: string): Promise<Holding> {
    const own = join(folder, name);
    await mkdir(own);
    const tiny = await buildTarget('tiny');
    for (let n = 0; n < TRIES; n++) await copyFile(tiny, join(own, `${name}-${n}`));
    const trace = { symbols: FUNCTIONS, roots: true, maxRate: 0, fold: 0 };
    const select = { executable: join(own, `${name}-*`) };
    const config = {
      rules: [{ name, select, trace, hold: true }],
      export: { otlp: false },
    };
    return new Holding(await AgentProcess.start(own, { config }), join(own, name));
  }

  startNext(): Promise<Tiny> {
    return Tiny.start(`${this.folder}-${this.next++}`);
  }

  /** One that is held, of which the agent, which is stopped now, has not heard. */
  async heldUnheard(): Promise<Tiny> {
    while (this.next < TRIES) {
      this.agent.process.child.kill('SIGSTOP');
      await until('stopped', () => (stateOf(this.agent.pid) === 'T' ? true : null));
      const tiny = await this.startNext();
      // The kernel holds for a moment only when it does not hear of the agent.
      if (await tiny.isHeld()) return tiny;
      this.agent.process.child.kill('SIGCONT');
      await sleep(500);
    }
    throw new Error('none was held');
  }

  /** One that is held, of which the agent has told its guard. */
  async heldAndTold(): Promise<Tiny> {
    const { pid } = this.agent;
    const [guard] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ');
    const heard = (): string => readFileSync(`/proc/${guard}/io`, 'utf8').split('\n')[0] ?? '';
    while (this.next < TRIES) {
      const before = heard();
      const tiny = await this.startNext();
      if (!(await tiny.isHeld())) continue;
      while (tiny.held && heard() === before);
      if (tiny.held) return tiny;
      await tiny.counted();
    }
    throw new Error('none was held for long enough');
  }

  /** Calls by function, once all processes are gone. */
  async calls(): Promise<Record<string, number>> {
    await until('all gone', async () => {
      const targets = (await this.agent.metrics()).samples('underspan_targets');
      return targets.every(({ value }) => value === 0) ? true : null;
    });
    return Object.fromEntries(await this.agent.calls());
  }
}

test('killed, an agent lets go whom it held, and leaves alone whom another holds', async (t) => {
  if (!requireBpf(t)) return;
  await inFolder(async (folder) => {
    const killed = await Holding.start(folder, 'killed');
    const alive = await Holding.start(folder, 'alive');
    try {
      // As if its probes took long.
      const others = await alive.heldUnheard();
      const own = await killed.heldAndTold();
      await killed.agent.kill();
      await own.counted();
      assert.ok(others.held, 'let go by a guard that is not its own');
      alive.agent.process.child.kill('SIGCONT');
      const counted = await others.counted();
      assert.deepEqual(await alive.calls(), counted);

      const unheard = await alive.heldUnheard();
      await alive.agent.kill();
      await unheard.counted();
    } finally {
      await killed.agent.kill();
      await alive.agent.kill();
    }
  });
});

test('an executable that was let pass is held where it has been moved to', async (t) => {
  if (!requireBpf(t)) return;
  await inFolder(async (folder) => {
    const holding = await Holding.start(folder, 'moved');
    try {
      const elsewhere = join(folder, 'moved-0');
      const there = join(folder, 'moved', 'moved-0');
      await rename(there, elsewhere);
      const { ino } = await stat(elsewhere);
      const first = await Tiny.start(elsewhere);
      assert.ok(await first.isHeld(), 'nobody knows it yet');
      await first.counted();
      const passing = await Tiny.start(elsewhere);
      assert.ok(!(await passing.isHeld()), 'it was not let pass');
      await rename(elsewhere, there);
      assert.equal((await stat(there)).ino, ino);
      const moved = await Tiny.start(there);
      const counted = await moved.counted();
      assert.deepEqual(await holding.calls(), counted);
    } finally {
      await holding.agent.kill();
    }
  });
});
