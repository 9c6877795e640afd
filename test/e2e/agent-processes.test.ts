/** Many short-lived processes of many executables: all seen, all counted, nothing left behind. */
import assert from 'node:assert/strict';
import { copyFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { AgentProcess, until } from '../tools/agent.js';
import { descriptorsOf } from '../tools/descriptors.js';
import { inFolder } from '../tools/folder.js';
import { buildTarget } from '../tools/go.js';
import { RunningProcess } from '../tools/process.js';
import { requireBpf } from '../tools/require.js';

const BINARIES = 20;
const PROCESSES = 500;
const WITHIN_MS = 60_000;
const ROUNDS = 5;
/** Long enough to be seen; one that ends within milliseconds may be gone before it is looked at. */
const LONG_ROUNDS = 20_000;
const FUNCTIONS = ['main.work', 'main.step', 'main.descend', 'main.grow'];

/** What processes of the program `tiny` counted themselves, by function. */
class Counted {
  readonly calls = new Map<string, number>(FUNCTIONS.map((name) => [name, 0]));
  private runs = 0;

  constructor(private readonly folder: string) {}

  /** Runs it to its end. */
  async run(path: string, rounds = ROUNDS): Promise<void> {
    const file = join(this.folder, `truth-${this.runs++}.json`);
    const ran = await RunningProcess.start(path, [file, String(rounds)]);
    assert.equal(await ran.ended(), 0, ran.output);
    const { calls } = JSON.parse(await readFile(file, 'utf8')) as { calls: Record<string, number> };
    for (const [name, count] of Object.entries(calls)) {
      this.calls.set(name, (this.calls.get(name) ?? 0) + count);
    }
  }
}

async function binariesIn(folder: string): Promise<string[]> {
  const tiny = await buildTarget('tiny');
  const paths = Array.from({ length: BINARIES }, (_, n) => join(folder, `program-${n}`));
  await Promise.all(paths.map((path) => copyFile(tiny, path)));
  return paths;
}

const config = (folder: string, hold: boolean, idle: string): object => ({
  rules: [
    {
      name: 'programs',
      select: { executable: join(folder, 'program-*') },
      trace: { symbols: FUNCTIONS, roots: true, maxRate: 0 },
      hold,
    },
  ],
  export: { otlp: false },
  limits: { idle },
});

/** Calls by function, once all processes are gone. */
async function settled(agent: AgentProcess): Promise<Map<string, number>> {
  await until('all gone', async () => {
    const targets = (await agent.metrics()).samples('underspan_targets');
    return targets.every(({ value }) => value === 0) ? true : null;
  });
  return agent.calls();
}

function assertDifference(
  after: ReadonlyMap<string, number>,
  before: ReadonlyMap<string, number>,
  counted: ReadonlyMap<string, number>,
): void {
  for (const name of FUNCTIONS) {
    assert.equal((after.get(name) ?? 0) - (before.get(name) ?? 0), counted.get(name), name);
  }
}

/** The probes of executables that nothing runs go away, and with them all that belongs to them. */
async function assertNothingLeft(
  t: TestContext,
  agent: AgentProcess,
  before: ReturnType<typeof descriptorsOf>,
): Promise<void> {
  await until('idle', async () => {
    const metrics = await agent.metrics();
    return metrics.samples('underspan_probes_attached').length === 0 ? true : null;
  });
  // The rule has maps of its own since its first process came, and what asks for metrics a connection.
  const others = ({ all, maps }: typeof before): number => all - maps;
  let now = before;
  await until('closed', () => {
    now = descriptorsOf(agent.pid);
    const closed = now.links <= before.links && now.programs <= before.programs;
    return closed && others(now) <= others(before) + 1 ? true : null;
  }).finally(() => {
    t.diagnostic(JSON.stringify({ before, now, rss: Math.round(agent.rss() / 1024 / 1024) }));
  });
}

test('500 processes of 20 executables within a minute: each executable from its second process on', async (t) => {
  if (!requireBpf(t)) return;
  await inFolder(async (folder) => {
    const paths = await binariesIn(folder);
    const agent = await AgentProcess.start(folder, {
      config: config(folder, false, '60s'),
    });
    try {
      const before = descriptorsOf(agent.pid);
      // New ones: how long it takes until they are attached, from their exec on.
      const news = new Counted(folder);
      const late: number[] = [];
      for (const path of paths) {
        const begin = Date.now();
        await news.run(path, LONG_ROUNDS);
        const line = await agent.hear(`functions of ${path} `);
        late.push(Date.parse(String(line['time'])) - begin);
      }
      late.sort((a, b) => a - b);
      t.diagnostic(
        `a new executable is attached after ${late[BINARIES / 2]} ms, at most ${late.at(-1)}`,
      );
      const seen = await settled(agent);
      const counted = new Counted(folder);
      const begin = performance.now();
      let started = 0;
      const one = async (): Promise<void> => {
        while (started < PROCESSES) {
          const n = started++;
          await counted.run(paths[n % BINARIES] ?? '');
        }
      };
      await Promise.all(Array.from({ length: 8 }, one));
      const took = performance.now() - begin;
      t.diagnostic(`${PROCESSES} processes in ${Math.round(took / 1000)} s`);
      assert.ok(took < WITHIN_MS, String(took));
      assertDifference(await settled(agent), seen, counted.calls);
      await agent.configure(config(folder, false, '1s'));
      const metrics = await agent.metrics();
      const lost = metrics
        .samples('underspan_lost_calls_total')
        .filter(({ value }) => value > 0)
        .map(({ labels, value }) => `${labels['reason']} ${value}`);
      t.diagnostic(`lost: ${lost.join(', ') || 'nothing'}`);
      const sum = [...(await agent.calls()).values()].reduce((all, count) => all + count, 0);
      const losses = metrics
        .samples('underspan_lost_calls_total')
        .reduce((all, { value }) => all + value, 0);
      assert.equal(metrics.value('underspan_spans_total') + losses, sum);
      await assertNothingLeft(t, agent, before);
    } finally {
      await agent.kill();
    }
  });
});

test('held at their exec, processes of new executables are counted from their first call on', async (t) => {
  if (!requireBpf(t)) return;
  await inFolder(async (folder) => {
    const paths = await binariesIn(folder);
    const agent = await AgentProcess.start(folder, { config: config(folder, true, '60s') });
    try {
      const counted = new Counted(folder);
      const times = [];
      for (const path of paths) {
        const begin = performance.now();
        await counted.run(path);
        times.push(performance.now() - begin);
      }
      times.sort((a, b) => a - b);
      t.diagnostic(`held and run within ${Math.round(times[BINARIES / 2] ?? NaN)} ms`);
      assertDifference(await settled(agent), new Map(), counted.calls);
    } finally {
      await agent.kill();
    }
  });
});
