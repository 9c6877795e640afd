/** What arrives in a real Collector, whatever is dropped or fails on the way. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Collector } from '../tools/collector.js';
import { inFolder } from '../tools/folder.js';
import { runLoad } from '../tools/load.js';
import type { OtlpSpan } from '../tools/otlp.js';
import { sleep } from '../tools/process.js';
import { requireBpf } from '../tools/require.js';
import { Shop } from '../tools/shop.js';
import { totalLost, Tracer } from '../tools/tracer.js';

const KIND_INTERNAL = 1;
const RESOURCE = 'service.version=1.2.3,deployment.environment.name=test%20floor';

interface Arrived {
  own: OtlpSpan[];
  ours: OtlpSpan[];
  tracer: Tracer;
}

async function arrive(
  args: string[],
  options: {
    requests?: number;
    concurrency?: number;
    during?: (collector: Collector) => Promise<void>;
    env?: Record<string, string>;
    flags?: string[];
  } = {},
): Promise<Arrived> {
  return inFolder(async (folder) => {
    const collector = await Collector.start(folder);
    const shop = await Shop.start({
      otlpEndpoint: collector.endpoint,
      env: { OTEL_RESOURCE_ATTRIBUTES: RESOURCE, ...options.env },
      build: { flags: options.flags ?? [] },
    });
    try {
      const tracer = await Tracer.attach([
        ...['--pid', String(shop.pid), '--symbol', 'main.*', '--otlp'],
        ...['--otlp-endpoint', collector.endpoint, ...args],
      ]);
      const load = runLoad({
        urls: [`${shop.url}/order`],
        requests: options.requests ?? 1_000,
        concurrency: options.concurrency ?? 16,
      });
      await options.during?.(collector);
      assert.equal((await load).failures, 0);
      assert.equal(await tracer.stop(), 0, tracer.stderr);
      await shop.flush();
      // The shop's exporter gives up on what it could not deliver at the first try.
      await sleep(300);
      const spans = await collector.spans();
      const isOurs = ({ scope }: OtlpSpan): boolean => scope.name === 'underspan';
      return {
        own: spans.filter((span) => !isOurs(span)),
        ours: spans.filter(isOurs),
        tracer,
      };
    } finally {
      await shop.stop();
      await collector.stop();
    }
  });
}

/** Standard output is another sink: what its reader missed is no loss here. */
function assertAllCounted({ ours, tracer: { result } }: Arrived): void {
  const calls = result.functions.reduce((sum, each) => sum + each.calls, 0);
  const lost = totalLost(result) - (result.lost['output'] ?? 0);
  assert.equal(ours.length + lost, calls, JSON.stringify(result.lost));
}

function assertNoDangling({ own, ours }: Arrived): void {
  const ids = new Set([...own, ...ours].map(({ spanId }) => spanId));
  const dangling = ours.filter(
    ({ parentSpanId }) => parentSpanId !== null && !ids.has(parentSpanId),
  );
  assert.equal(dangling.length, 0, `${dangling.length} of ${ours.length}: ${dangling[0]?.name}`);
  assert.equal(new Set(ours.map(({ spanId }) => spanId)).size, ours.length, 'a span came twice');
}

test("the shop's spans and ours, in its own resource", async (t) => {
  if (!requireBpf(t)) return;
  const arrived = await arrive(['--ring-size', '64MiB']);
  const { own, ours } = arrived;
  assert.ok(own.length >= 3_000, `${own.length} of the shop's own spans`);
  assertNoDangling(arrived);
  assertAllCounted(arrived);
  const traces = new Set(own.map(({ traceId }) => traceId));
  const inTheirTraces = ours.filter(({ traceId }) => traces.has(traceId));
  assert.ok(inTheirTraces.length > 10 * 1_000, `${inTheirTraces.length} in the shop's traces`);
  const resource = own[0]?.resource;
  assert.equal(resource?.['deployment.environment.name'], 'test floor');
  assert.equal(resource['service.version'], '1.2.3');
  for (const span of ours) {
    assert.equal(span.kind, KIND_INTERNAL);
    assert.deepEqual(span.resource, resource);
    assert.equal(span.attributes['code.function.name'], span.name);
  }
});

for (const flags of [[], ['-ldflags=-s -w']]) {
  test(`a resource that is set in code${flags.length > 0 ? ', stripped' : ''}`, async (t) => {
    if (!requireBpf(t)) return;
    const env = { SHOP_RESOURCE: 'code' };
    const { own, ours } = await arrive([], { requests: 50, env, flags });
    const resource = own[0]?.resource;
    assert.equal(resource?.['service.name'], 'set in code');
    assert.deepEqual(resource['shop.lines'], ['tea', 'coffee']);
    assert.ok(ours.length > 500);
    for (const span of ours) assert.deepEqual(span.resource, resource);
  });
}

for (const args of [
  ['--sample', '0.1'],
  ['--max-rate', '50'],
  ['--ring-size', '4KiB'],
  ['--slower-than', '1ms'],
  ['--min-duration', '20us'],
]) {
  test(`no parent that exists in neither, with ${args.join(' ')}`, async (t) => {
    if (!requireBpf(t)) return;
    const arrived = await arrive(args, { requests: 2_000, concurrency: 32 });
    t.diagnostic(`${arrived.ours.length} spans; ${JSON.stringify(arrived.tracer.result.lost)}`);
    assert.ok(arrived.ours.length > 0, 'no span came at all');
    assertNoDangling(arrived);
    assertAllCounted(arrived);
    assert.ok(totalLost(arrived.tracer.result) > 0, 'nothing was left out');
  });
}

test('the Collector is away for 20 s: nothing is lost that fits the queue', async (t) => {
  if (!requireBpf(t)) return;
  const arrived = await arrive(['--ring-size', '64MiB'], {
    requests: 1_500,
    concurrency: 4,
    during: async (collector) => {
      await collector.stop();
      await sleep(20_000);
      await collector.resume();
    },
  });
  const { ours, tracer } = arrived;
  t.diagnostic(`${ours.length} spans; ${JSON.stringify(tracer.result.lost)}`);
  assertAllCounted(arrived);
  assert.equal(tracer.result.lost['export'] ?? 0, 0);
  assert.equal(tracer.result.lost['queue'] ?? 0, 0);
});
