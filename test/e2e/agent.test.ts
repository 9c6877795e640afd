/** The agent from its start to its end: rules, reloads, what it leaves behind. */
import assert from 'node:assert/strict';
import { chmod, copyFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { AgentProcess, until } from '../tools/agent.js';
import { inFolder } from '../tools/folder.js';
import { buildTarget } from '../tools/go.js';
import { runLoad } from '../tools/load.js';
import { RunningProcess, sleep } from '../tools/process.js';
import { requireBpf } from '../tools/require.js';
import { Shop } from '../tools/shop.js';
import { trace } from '../tools/tracer.js';
import { plainName } from '../tools/truth.js';

const ROUNDS = 200;

const rule = (name: string, executable: string, trace: object, more: object = {}): object => ({
  name,
  select: { executable },
  trace: { maxRate: 0, fold: 0, roots: true, ...trace },
  ...more,
});

const config = (...rules: object[]): object => ({ rules, export: { otlp: false } });

async function withAgent(
  settings: object,
  run: (agent: AgentProcess, folder: string) => Promise<void>,
): Promise<void> {
  await inFolder(async (folder) => {
    const agent = await AgentProcess.start(folder, { config: settings });
    try {
      await run(agent, folder);
      const { status, ms } = await agent.stop();
      assert.equal(status, 0, agent.process.output);
      assert.ok(ms < 5_000, `stopped after ${ms} ms`);
    } finally {
      await agent.kill();
    }
  });
}

/** All that the shop counted, it counts as the agent does. */
async function assertSame(agent: AgentProcess, shop: Shop): Promise<void> {
  const { calls } = await shop.counters();
  const counted = new Map<string, number>();
  for (const [name, count] of await agent.calls()) counted.set(plainName(name), count);
  for (const [name, count] of Object.entries(calls)) {
    if (!name.startsWith('main.')) continue;
    assert.equal(counted.get(name) ?? 0, count, name);
  }
}

test('a service that starts later is traced from its first call, and a reload costs it none', async (t) => {
  if (!requireBpf(t)) return;
  const binary = await buildTarget('shop');
  const kept = rule('shop', binary, { symbols: ['main.*'] }, { hold: true });
  await withAgent(config(kept), async (agent) => {
    const shop = await Shop.start();
    const over = new AbortController();
    try {
      const load = runLoad({
        urls: [`${shop.url}/order`],
        requests: Infinity,
        concurrency: 4,
        signal: over.signal,
      });
      await until('traced', async () => ((await agent.calls()).size > 0 ? true : null));
      // Other rules come and go; the shop's is written as before.
      const other = rule('tiny', await buildTarget('tiny'), { symbols: ['main.work'] });
      for (let change = 1; change <= 4; change++) {
        await agent.configure(config(...(change % 2 ? [other, kept] : [kept])));
        await until('read again', () =>
          agent.log.filter(({ msg }) => msg === 'the configuration was read again').length >= change
            ? true
            : null,
        );
      }
      over.abort();
      const { failures, requests } = await load;
      assert.equal(failures, 0);
      assert.ok(requests > 100, String(requests));
      await sleep(300);
      await assertSame(agent, shop);
      await shop.stop();
      // What was open ends with the process.
      await until('gone', async () =>
        (await agent.metrics()).samples('underspan_targets').every(({ value }) => value === 0)
          ? true
          : null,
      );
      const metrics = await agent.metrics();
      const spans = metrics.value('underspan_spans_total');
      const lost = metrics
        .samples('underspan_lost_calls_total')
        .reduce((sum, { value }) => sum + value, 0);
      const calls = [...(await agent.calls()).values()].reduce((sum, count) => sum + count, 0);
      assert.equal(spans + lost, calls);
    } finally {
      over.abort();
      await shop.stop();
    }
  });
});

test('a rule that changes takes effect while the service runs', async (t) => {
  if (!requireBpf(t)) return;
  const shop = await Shop.start();
  try {
    const of = (symbols: string[]): object => config(rule('shop', shop.binary, { symbols }));
    await withAgent(of(['main.tick']), async (agent) => {
      await fetch(`${shop.url}/burn?calls=1000&goroutines=2`);
      assert.deepEqual([...(await agent.calls())], [['main.tick', 1000]]);
      await agent.configure(of(['main.mix', 'main.(*OrderHandler).ServeHTTP']));
      await agent.hear('the configuration was read again');
      await fetch(`${shop.url}/burn?calls=1000&goroutines=2`);
      await (await fetch(`${shop.url}/order`)).text();
      const calls = await agent.calls();
      assert.equal(calls.has('main.tick'), false);
      assert.equal(calls.get('main.(*OrderHandler).ServeHTTP'), 1);
      const detached = (await agent.metrics()).samples('underspan_probes_detached_total', {
        reason: 'reload',
      });
      assert.ok((detached[0]?.value ?? 0) >= 2, JSON.stringify(detached));
    });
  } finally {
    await shop.stop();
  }
});

test('a bad configuration is refused with its place, and the old one goes on', async (t) => {
  if (!requireBpf(t)) return;
  const shop = await Shop.start();
  try {
    await withAgent(
      config(rule('shop', shop.binary, { symbols: ['main.tick'] })),
      async (agent) => {
        await writeFile(agent.configFile, 'rules:\n  - nam: shop\n');
        agent.process.child.kill('SIGHUP');
        const { err } = await agent.hear('the configuration was refused');
        assert.match((err as { message: string }).message, /agent\.yaml:2:5: .*'nam'.*'name'/);
        await fetch(`${shop.url}/burn?calls=500&goroutines=1`);
        assert.equal((await agent.calls()).get('main.tick'), 500);
        assert.equal((await agent.ready()).ready, true);
      },
    );
  } finally {
    await shop.stop();
  }
  await inFolder(async (folder) => {
    const file = join(folder, 'agent.yaml');
    await writeFile(file, 'rules: []\nmetric: {}\n');
    const { status, stderr } = await trace(['agent', '--config', file]);
    assert.equal(status, 2);
    assert.match(stderr, /agent\.yaml:2:1: .*'metric'.*'metrics'/);
  });
});

test('a symbol that nobody has is told with its place, and the agent is not ready', async (t) => {
  if (!requireBpf(t)) return;
  const shop = await Shop.start();
  try {
    await withAgent(
      config(rule('shop', shop.binary, { symbols: ['main.tack'] })),
      async (agent) => {
        const line = await agent.hear("matches 'main.tack'");
        assert.match(line.msg, /agent\.yaml:\d+:\d+: /);
        assert.match(String(line['hint']), /main\.tick/);
        const { ready, rules } = await agent.ready();
        assert.equal(ready, false);
        assert.match(rules[0]?.problem ?? '', /main\.tack/);
      },
    );
  } finally {
    await shop.stop();
  }
});

test('of two rules the first that selects a process has it', async (t) => {
  if (!requireBpf(t)) return;
  const shop = await Shop.start({ serviceName: 'checkout' });
  try {
    const settings = config(
      { name: 'other', select: { service: 'other' }, trace: { symbols: ['main.*'] } },
      { name: 'service', select: { service: 'check*' }, trace: { symbols: ['main.tick'] } },
      rule('executable', shop.binary, { symbols: ['main.*'] }),
    );
    await withAgent(settings, async (agent) => {
      await fetch(`${shop.url}/burn?calls=100&goroutines=1`);
      const samples = (await agent.metrics()).samples('underspan_function_calls_total');
      assert.deepEqual(
        samples.map(({ labels, value }) => [labels['rule'], labels['function'], value]),
        [['service', 'main.tick', 100]],
      );
    });
  } finally {
    await shop.stop();
  }
});

test('a file that is written over while nothing runs it gets no breakpoints', async (t) => {
  if (!requireBpf(t)) return;
  const [tiny, stripped] = [
    await buildTarget('tiny'),
    await buildTarget('tiny', { flags: ['-ldflags=-s -w'] }),
  ];
  await inFolder(async (folder) => {
    const path = join(folder, 'program');
    const run = async (): Promise<Record<string, number>> => {
      const truth = join(folder, 'truth.json');
      const ran = await RunningProcess.start(path, [truth, String(ROUNDS)]);
      assert.equal(await ran.ended(), 0, ran.output);
      return (JSON.parse(await readFile(truth, 'utf8')) as { calls: Record<string, number> }).calls;
    };
    await copyFile(tiny, path);
    await chmod(path, 0o755);
    const settings = config(rule('program', path, { symbols: ['main.work'] }, { hold: true }));
    await withAgent(settings, async (agent) => {
      const first = await run();
      assert.equal((await agent.calls()).get('main.work'), first['main.work']);
      // In place: the same inode, with other code at the probed places.
      await writeFile(path, await readFile(stripped));
      const detached = (await agent.metrics()).value('underspan_probes_detached_total', {
        reason: 'file-changed',
      });
      assert.ok(detached > 0);
      const second = await run();
      assert.equal((await agent.calls()).get('main.work'), second['main.work']);
    });
  });
});
