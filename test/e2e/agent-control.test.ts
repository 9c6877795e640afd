/** Sessions through an agent see what a trace of one's own sees. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { missingBpf, requireBpf } from '../tools/require.js';
import { inFolder } from '../tools/folder.js';
import { projectRoot } from '../tools/go.js';
import { RunningProcess } from '../tools/process.js';
import { Shop } from '../tools/shop.js';
import { totalLost, trace, traceCommand, Tracer } from '../tools/tracer.js';

interface Agent {
  socket: string;
  auditLog: string;
  process: RunningProcess;
}

const runner = join(projectRoot, 'dist/test/tools/control-runner.js');

async function withAgent(run: (agent: Agent) => Promise<void>): Promise<void> {
  await inFolder(async (folder) => {
    const socket = join(folder, 'agent.sock');
    const auditLog = join(folder, 'audit.log');
    const args = ['--enable-source-maps', runner, socket, auditLog];
    const process_ = await RunningProcess.start(process.execPath, args);
    try {
      await process_.until('ready', () => (/^ready$/m.test(process_.output) ? true : null));
      await run({ socket, auditLog, process: process_ });
    } finally {
      await process_.stop();
    }
  });
}

let shop: Shop;
before(async () => {
  if (!missingBpf()) shop = await Shop.start();
});
after(() => (missingBpf() ? undefined : shop.stop()));

const CALLS = 20_000;
const burn = async (): Promise<void> => {
  const response = await fetch(`${shop.url}/burn?calls=${CALLS}&goroutines=8`);
  assert.equal(response.status, 200);
};
const ticks = async (): Promise<number> => (await shop.counters()).calls['main.tick'] ?? 0;

/** Every call of main.tick is a span or a counted loss. */
function account(tracer: Tracer, calls: number): void {
  const { result } = tracer;
  const counted = result.functions.find(({ name }) => name === 'main.tick');
  assert.equal(counted?.calls, calls, tracer.stderr);
  assert.equal(tracer.spans.length + totalLost(result), calls, JSON.stringify(result.lost));
}

test('a session through the agent is like one without, and counts every call', async (t) => {
  if (!requireBpf(t)) return;
  await withAgent(async ({ socket, auditLog }) => {
    const tick = ['--pid', String(shop.pid), 'main.tick', '--ring-size', '64M'];
    const through = await Tracer.attach([`--agent=${socket}`, ...tick, '-d', '60s']);
    const direct = await Tracer.attach(tick);
    const before = await ticks();
    await burn();
    const calls = (await ticks()) - before;
    assert.equal(await direct.stop(), 0, direct.stderr);
    assert.equal(await through.stop(), 0, through.stderr);
    account(through, calls);
    account(direct, calls);
    const fields = ({ spans }: Tracer): string[] => Object.keys(spans[0] ?? {});
    assert.deepEqual(fields(through), fields(direct));
    assert.deepEqual(through.spans[0]?.resource, direct.spans[0]?.resource);
    const kinds = ({ spans }: Tracer): string[] => Object.keys(spans[0]?.attributes ?? {}).sort();
    assert.deepEqual(kinds(through), kinds(direct));
    assert.deepEqual(
      Object.keys(through.result.lost).sort(),
      Object.keys(direct.result.lost).sort(),
    );
    assert.deepEqual(through.notices, direct.notices);
    const records = (await readFile(auditLog, 'utf8')).trimEnd().split('\n');
    const [start, end] = records.map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.deepEqual([start?.['who'], start?.['peer']], ['uid 0', `socket, pid ${through.pid}`]);
    assert.deepEqual([end?.['event'], end?.['spans']], ['session-end', through.spans.length]);
  });
});

test('what spans are counted by is in the summary of a session too', async (t) => {
  if (!requireBpf(t)) return;
  await withAgent(async ({ socket }) => {
    const by = ['--pid', String(shop.pid), 'main.parseOrder', '--by', 'span.name'];
    const tracer = await Tracer.attach([`--agent=${socket}`, ...by]);
    for (let order = 0; order < 3; order++) await (await fetch(`${shop.url}/order`)).text();
    // A request's own span ends after its answer.
    await shop.counters();
    assert.equal(await tracer.stop(), 0, tracer.stderr);
    const [row, ...others] = tracer.result.by?.values ?? [];
    assert.deepEqual([row?.kind, row?.value, row?.requests], ['value', 'GET /order', 3]);
    assert.deepEqual(
      row?.functions.map(({ name, calls }) => [name, calls]),
      [['main.parseOrder', 3]],
    );
    assert.deepEqual(others, []);
  });
});

/** The trace's lines by their depth, without times and in no order: siblings may be simultaneous. */
function shape(output: string, traceId: string): string[] {
  const [, trace = ''] = output.split(`trace ${traceId}  `);
  return (trace.split('\n\n')[0] ?? '')
    .split('\n')
    .map((line) => line.replace(/ +[\d.]+ (ns|µs|ms|s)$/, '').replace(/[│├└─ ]/g, ' '))
    .sort();
}

test('the tree is the same as without an agent', async (t) => {
  if (!requireBpf(t)) return;
  await withAgent(async ({ socket }) => {
    const attach = (...args: string[]): Promise<RunningProcess> =>
      RunningProcess.start(process.execPath, [
        ...[traceCommand, 'attach', ...args, '--pid', String(shop.pid), 'main.*'],
      ]);
    const tracers = await Promise.all([attach(`--agent=${socket}`), attach()]);
    for (const tracer of tracers) {
      await tracer.until('attached', () => /attached to/.exec(tracer.output));
    }
    const response = await fetch(`${shop.url}/order`);
    const traceId = response.headers.get('x-trace-id') ?? '';
    await response.text();
    const shapes: string[][] = [];
    for (const tracer of tracers) {
      await tracer.until('shown', () => (tracer.output.includes(traceId) ? true : null));
      await tracer.stop('SIGINT');
      shapes.push(shape(tracer.output, traceId));
    }
    const [through, direct] = shapes;
    // Spans of the program and ours.
    for (const line of ['● GET /order', 'main.(*Order).validate']) {
      assert.ok(
        direct?.some((each) => each.includes(line)),
        direct?.join('\n'),
      );
    }
    assert.deepEqual(through, direct);
  });
});

test('two sessions and a trace of one’s own on one function do each other no harm', async (t) => {
  if (!requireBpf(t)) return;
  await withAgent(async ({ socket }) => {
    const tick = ['--pid', String(shop.pid), 'main.tick', '--ring-size', '64M'];
    const tracers = await Promise.all([
      Tracer.attach([`--agent=${socket}`, ...tick]),
      Tracer.attach([`--agent=${socket}`, ...tick]),
      Tracer.attach(tick),
    ]);
    const before = await ticks();
    await burn();
    const first = (await ticks()) - before;
    const [leaving, ...staying] = tracers;
    assert.ok(leaving);
    assert.equal(await leaving.stop(), 0, leaving.stderr);
    await burn();
    const both = (await ticks()) - before;
    for (const tracer of staying) assert.equal(await tracer.stop(), 0, tracer.stderr);
    account(leaving, first);
    staying.forEach((tracer) => account(tracer, both));
  });
});

test('sessions are listed and stopped, and the client has its summary', async (t) => {
  if (!requireBpf(t)) return;
  await withAgent(async ({ socket, process: agent }) => {
    const sessions = (...args: string[]): ReturnType<typeof trace> =>
      trace(['sessions', ...args, `--agent=${socket}`, '-o', 'json']);
    const attach = (): Promise<Tracer> =>
      Tracer.attach([`--agent=${socket}`, '--pid', String(shop.pid), 'main.tick']);
    const first = await attach();
    const second = await attach();
    const listed = (await sessions()).stdout.trimEnd().split('\n');
    const [one, two] = listed.map((line) => JSON.parse(line) as { id: string; peer: string });
    assert.deepEqual(
      [one?.peer, two?.peer],
      [first, second].map(({ pid }) => `socket, pid ${pid}`),
    );
    assert.equal((await sessions('stop', one?.id ?? '')).status, 0);
    assert.equal(await first.ended(), 0, first.stderr);
    assert.deepEqual(
      first.notices.map(({ code }) => code),
      ['SESSION_STOPPED'],
    );
    assert.ok(first.summary);
    assert.equal((await sessions('stop', one?.id ?? '')).status, 4);
    await agent.stop();
    assert.equal(await second.ended(), 0, second.stderr);
    assert.deepEqual(
      second.notices.map(({ code }) => code),
      ['AGENT_STOPS'],
    );
    const gone = await sessions();
    assert.deepEqual([gone.status, gone.stdout], [1, '']);
    assert.match(gone.stderr, /^trace: no agent can be reached at /);
  });
});

test('a session is gone with its client, also when that is killed', async (t) => {
  if (!requireBpf(t)) return;
  await withAgent(async ({ socket, process: agent }) => {
    const tracer = await Tracer.attach([
      ...[`--agent=${socket}`, '--pid', String(shop.pid), 'main.tick'],
    ]);
    tracer.child.kill('SIGKILL');
    await agent.until('without a session', async () => {
      const { stderr } = await trace(['sessions', `--agent=${socket}`]);
      return stderr.includes('no session runs') ? true : null;
    });
  });
});

test('an agent that is killed is a failure, and what had come is there', async (t) => {
  if (!requireBpf(t)) return;
  await withAgent(async ({ socket, process: agent }) => {
    const tracer = await Tracer.attach([
      ...[`--agent=${socket}`, '--pid', String(shop.pid), 'main.tick'],
    ]);
    await fetch(`${shop.url}/burn?calls=10&goroutines=1`);
    await agent.until('spans', () => (tracer.spans.length > 0 ? true : null));
    agent.child.kill('SIGKILL');
    assert.equal(await tracer.ended(), 1);
    assert.match(tracer.stderr, /connection to the agent broke/);
  });
});

test('mistakes have the exit status that they have without an agent', async (t) => {
  if (!requireBpf(t)) return;
  await withAgent(async ({ socket }) => {
    const status = async (...args: string[]): Promise<number | null> =>
      (await trace(['attach', `--agent=${socket}`, ...args])).status;
    const pid = String(shop.pid);
    assert.equal(await status('--pid', pid, 'main.nobody'), 4);
    assert.equal(await status('--pid', String(0x7ffffff0), 'main.*'), 4);
    assert.equal(await status('--pid', pid, '/(/'), 2);
    assert.equal(await status('main.*', '--', 'true'), 125);
  });
});
