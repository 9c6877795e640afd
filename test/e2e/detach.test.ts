/** The target is left as it was, however often and however rudely the tracer goes. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { loadNative } from '../../src/native/load.js';
import { startTrace } from '../../src/engine.js';
import { runLoad } from '../tools/load.js';
import { traceOptions } from '../tools/options.js';
import { sleep } from '../tools/process.js';
import { requireBpf } from '../tools/require.js';
import { Shop } from '../tools/shop.js';
import { Tracer } from '../tools/tracer.js';

/** What the kernel holds of BPF for all processes. */
function bpfObjects(): Record<string, number> {
  const count = (kind: string): number =>
    (JSON.parse(execFileSync('bpftool', ['-j', kind, 'list'], { encoding: 'utf8' })) as unknown[])
      .length;
  return { programs: count('prog'), maps: count('map'), links: count('link') };
}

const descriptors = (): number => readdirSync('/proc/self/fd').length;

/** Programs and maps are freed a little after their last descriptor. */
async function assertNoMoreThan(before: Record<string, number>): Promise<void> {
  for (let tries = 0; ; tries++) {
    const now = bpfObjects();
    const more = Object.keys(before).filter((kind) => (now[kind] ?? 0) > (before[kind] ?? 0));
    if (more.length === 0) return;
    assert.ok(tries < 50, `${more.join(', ')} left: ${JSON.stringify({ before, now })}`);
    await sleep(100);
  }
}

test('100 times attached and detached under load', async (t) => {
  if (!requireBpf(t)) return;
  const native = loadNative();
  const shop = await Shop.start();
  const over = new AbortController();
  try {
    const before = bpfObjects();
    // Once before, so that what is loaded only once is there.
    await (await startTrace(native, traceOptions(shop.pid, 'main.*'))).stop();
    await assertNoMoreThan(before);
    const fds = descriptors();
    const load = runLoad({
      urls: [`${shop.url}/order`, `${shop.url}/deep?n=5`, `${shop.url}/panic`],
      requests: Infinity,
      concurrency: 8,
      signal: over.signal,
    });
    for (let cycle = 0; cycle < 100; cycle++) {
      const trace = await startTrace(native, traceOptions(shop.pid, 'main.*'));
      await sleep(20);
      await trace.stop();
    }
    over.abort();
    const { failures, firstFailure, requests } = await load;
    assert.equal(failures, 0, firstFailure ?? '');
    t.diagnostic(`${requests} requests, none failed`);
    await assertNoMoreThan(before);
    // The load's own connections come and go.
    assert.ok(descriptors() <= fds + 10, `${fds} descriptors before, ${descriptors()} after`);
  } finally {
    over.abort();
    await shop.stop();
  }
});

test('the tracer is killed in the midst of load', async (t) => {
  if (!requireBpf(t)) return;
  const shop = await Shop.start();
  try {
    const before = bpfObjects();
    const load = runLoad({ urls: [`${shop.url}/order`], requests: 5_000, concurrency: 16 });
    for (let kills = 0; kills < 5; kills++) {
      const tracer = await Tracer.attach(['--pid', String(shop.pid), 'main.*']);
      await sleep(100);
      tracer.child.kill('SIGKILL');
      await tracer.ended();
    }
    const { failures, firstFailure } = await load;
    assert.equal(failures, 0, firstFailure ?? '');
    await assertNoMoreThan(before);
    const after = await runLoad({ urls: [`${shop.url}/order`], requests: 500, concurrency: 8 });
    assert.equal(after.failures, 0);
  } finally {
    await shop.stop();
  }
});

test('two tracers on one function', async (t) => {
  if (!requireBpf(t)) return;
  const shop = await Shop.start();
  try {
    const args = ['--pid', String(shop.pid), 'main.*'];
    const [first, second] = await Promise.all([Tracer.attach(args), Tracer.attach(args)]);
    const { failures } = await runLoad({
      urls: [`${shop.url}/order`],
      requests: 500,
      concurrency: 8,
    });
    assert.equal(failures, 0);
    assert.equal(await first.stop(), 0, first.stderr);
    assert.equal(await second.stop(), 0, second.stderr);
    const count = ({ result }: Tracer): number | undefined =>
      result.functions.find(({ name }) => name === 'main.(*Shop).PlaceOrder')?.calls;
    assert.equal(count(first), 500);
    assert.equal(count(second), 500);
  } finally {
    await shop.stop();
  }
});
