/** A real Collector over both protocols, and what it missed while it was away. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { join } from 'node:path';
import { test } from 'node:test';
import { Collector } from '../tools/collector.js';
import { inFolder } from '../tools/folder.js';
import { runLoad } from '../tools/load.js';
import { RunningProcess } from '../tools/process.js';
import { requireBpf } from '../tools/require.js';
import { Shop } from '../tools/shop.js';
import { totalLost, Tracer } from '../tools/tracer.js';

const SPOOLER = join(import.meta.dirname, '../tools/spooler.js');

test('trace attach over http/protobuf, as the environment says', async (t) => {
  if (!requireBpf(t)) return;
  await inFolder(async (folder) => {
    const collector = await Collector.start(folder);
    const shop = await Shop.start({});
    try {
      const tracer = await Tracer.attach(
        ['--pid', String(shop.pid), '--symbol', 'main.*', '--otlp', '--ring-size', '64MiB'],
        {
          OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
          OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: 'http/protobuf',
          OTEL_EXPORTER_OTLP_ENDPOINT: collector.httpEndpoint,
          OTEL_EXPORTER_OTLP_COMPRESSION: 'gzip',
        },
      );
      const load = await runLoad({ urls: [`${shop.url}/order`], requests: 500, concurrency: 8 });
      assert.equal(load.failures, 0);
      assert.equal(await tracer.stop(), 0, tracer.stderr);
      const { functions, lost } = tracer.result;
      const calls = functions.reduce((sum, each) => sum + each.calls, 0);
      const spans = await collector.spans();
      assert.ok(spans.length > 5_000, `${spans.length} spans`);
      const left = totalLost(tracer.result) - (lost['output'] ?? 0);
      assert.equal(spans.length + left, calls, JSON.stringify(lost));
      assert.equal(lost['export'], 0);
    } finally {
      await shop.stop();
      await collector.stop();
    }
  });
});

/** A process that delivers to `collector` by way of a spool; with no prefix only what is there. */
function startSpooler(
  collector: Collector,
  { directory, protocol, prefix }: { directory: string; protocol: string; prefix: string },
): Promise<RunningProcess> {
  const endpoint = protocol === 'grpc' ? collector.endpoint : collector.httpEndpoint;
  const args = [SPOOLER, endpoint, directory, prefix, protocol];
  return RunningProcess.start(process.execPath, args, { OTEL_EXPORTER_OTLP_TIMEOUT: '1000' });
}

/** Stops the first, lets a new one deliver what it left, and compares with what arrived. */
async function assertAllArrive(
  collector: Collector,
  first: RunningProcess,
  spooler: { directory: string; protocol: string },
): Promise<string> {
  await first.stop();
  const before = last(first);
  assert.equal(before.queuedSpans, 0);
  assert.deepEqual(before.lost, { queue: 0, export: 0, spool: 0, spoolCorrupt: 0 });
  let { delivered, repeated } = before;
  if (before.spooledSpans > 0) {
    await collector.stop();
    await collector.resume();
    const second = await startSpooler(collector, { ...spooler, prefix: '' });
    await second.until('ended', () => (second.running ? null : true));
    const { stdout } = second.child;
    if (stdout && !stdout.closed) await once(stdout, 'close');
    assert.equal(last(second).delivered, before.spooledSpans);
    assert.equal(last(second).spooledSpans, 0);
    delivered += last(second).delivered;
    repeated += last(second).repeated;
  }
  const ids = (await collector.spans()).map(({ spanId }) => spanId);
  const unique = new Set(ids);
  assert.equal(unique.size, delivered);
  const twice = ids.length - unique.size;
  assert.ok(twice <= repeated, `${twice} came twice, ${repeated} were counted`);
  return `${delivered} spans, ${before.spooledSpans} by the second process, ${twice} twice of ${repeated}`;
}

for (const protocol of ['grpc', 'http/protobuf']) {
  test(`the Collector is away: a new process delivers the spool, by ${protocol}`, async (t) => {
    if (!requireBpf(t)) return;
    await inFolder(async (folder) => {
      const collector = await Collector.start(folder);
      const spooler = { directory: join(folder, 'spool'), protocol };
      const first = await startSpooler(collector, { ...spooler, prefix: 'aa' });
      try {
        await first.until('delivered', () => (last(first).delivered > 1_000 ? true : null));
        await collector.stop();
        await first.until('spooled', () => (last(first).spooledSpans > 5_000 ? true : null));
        t.diagnostic(await assertAllArrive(collector, first, spooler));
      } finally {
        await first.stop('SIGKILL');
        await collector.stop();
      }
    });
  });

  test(`the Collector is killed, comes back, stalls and goes on, by ${protocol}`, async (t) => {
    if (!requireBpf(t)) return;
    await inFolder(async (folder) => {
      const collector = await Collector.start(folder);
      const spooler = { directory: join(folder, 'spool'), protocol };
      const first = await startSpooler(collector, { ...spooler, prefix: 'aa' });
      const spooled = (): true | null => (last(first).spooledSpans > 5_000 ? true : null);
      const caughtUp = (): true | null => (last(first).spooledSpans === 0 ? true : null);
      try {
        await first.until('delivered', () => (last(first).delivered > 1_000 ? true : null));
        await collector.kill();
        await first.until('spooled', spooled);
        await collector.resume();
        await first.until('caught up', caughtUp);
        collector.stall();
        await first.until('spooled again', spooled);
        collector.proceed();
        await first.until('caught up again', caughtUp);
        t.diagnostic(await assertAllArrive(collector, first, spooler));
      } finally {
        collector.proceed();
        await first.stop('SIGKILL');
        await collector.stop();
      }
    });
  });
}

const NOTHING = { delivered: 0, repeated: 0, spooledSpans: 0, queuedSpans: 0, lost: {} };

/** What a spooler said last. */
function last({ output }: RunningProcess): typeof NOTHING {
  const line = output
    .slice(0, output.lastIndexOf('\n') + 1)
    .split('\n')
    .at(-2);
  return line === undefined ? NOTHING : (JSON.parse(line) as typeof NOTHING);
}
