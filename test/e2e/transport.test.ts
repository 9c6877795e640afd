/** Perf buffers instead of the ring: the same counts, the same parents, the same order. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startTrace } from '../../src/engine.js';
import { loadNative } from '../../src/native/load.js';
import type { Native } from '../../src/native/native.js';
import type { Transport } from '../../src/session/transport.js';
import { Decoder } from '../../src/spans/decode.js';
import { ProcessEvent } from '../../src/spans/records.generated.js';
import { runLoad } from '../tools/load.js';
import { traceOptions } from '../tools/options.js';
import { requireBpf } from '../tools/require.js';
import { Shop } from '../tools/shop.js';
import { totalLost, Tracer } from '../tools/tracer.js';

const CALLS = 1_000_000;

async function burn(ringSize: string): Promise<Tracer> {
  const shop = await Shop.start();
  try {
    const tracer = await Tracer.attach([
      ...['--pid', String(shop.pid), '--transport', 'perf', '--ring-size', ringSize, 'main.tick'],
    ]);
    const response = await fetch(`${shop.url}/burn?calls=${CALLS}&goroutines=8`);
    assert.equal(response.status, 200);
    const { calls } = await shop.counters();
    assert.equal(await tracer.stop(), 0, tracer.stderr);
    const { functions, lost } = tracer.result;
    assert.equal(calls['main.tick'], CALLS);
    assert.equal(functions[0]?.calls, CALLS);
    assert.equal(tracer.spans.length + totalLost(tracer.result), CALLS, JSON.stringify(lost));
    return tracer;
  } finally {
    await shop.stop();
  }
}

test('a million calls through perf buffers', async (t) => {
  if (!requireBpf(t)) return;
  const { result } = await burn('64MiB');
  t.diagnostic(JSON.stringify(result.lost));
});

test('a million calls through perf buffers of one page each', async (t) => {
  if (!requireBpf(t)) return;
  const { result, spans } = await burn('4KiB');
  assert.ok((result.lost['ringFull'] ?? 0) > 0, 'nothing was lost: the buffers are not too small');
  assert.ok(spans.length > 0, 'all was lost');
});

/** Counts what comes before what it must come after. */
class Order {
  calls = 0;
  /** Calls that come after the outermost one of their tree. */
  late = 0;
  /** Outermost calls whose tree was on more than one thread: the kernel may have moved it. */
  moved = 0;
  /** Calls that come after their process's exit. */
  afterExit = 0;
  private readonly ended = new Set<string>();
  private readonly exited = new Set<number>();
  private readonly tids = new Map<string, number>();

  /** The same, with an eye on what is read. */
  watched(native: Native): Native {
    const decoder = new Decoder({
      call: ({ spanId, treeId, tgid, tid }) => {
        this.calls++;
        if (this.exited.has(tgid)) this.afterExit++;
        if (spanId !== treeId) {
          if (this.ended.has(treeId)) this.late++;
          this.tids.set(treeId, tid);
          return;
        }
        this.ended.add(treeId);
        if ((this.tids.get(treeId) ?? tid) !== tid) this.moved++;
      },
      process: ({ event, tgid }) => {
        if (event === ProcessEvent.EXITED) this.exited.add(tgid);
      },
      programSpan: () => undefined,
      tracer: () => undefined,
      collector: () => undefined,
    });
    const read: Native['read'] = (map, options, onBatch) =>
      native.read(map, options, (batch) => {
        decoder.decode(batch);
        onBatch(batch);
      });
    return Object.assign(Object.create(native) as Native, { read });
  }
}

async function orderOf(transport: Transport): Promise<Order> {
  const order = new Order();
  // More threads than CPUs, so that they are moved.
  const shop = await Shop.start({ env: { GOMAXPROCS: '8' } });
  let stopped: Promise<void> | null = null;
  try {
    const options = { transport, ringBytes: 1 << 26 };
    const trace = await startTrace(
      order.watched(loadNative()),
      traceOptions(shop.pid, 'main.*', options),
    );
    const load = await runLoad({ urls: [`${shop.url}/order`], requests: 3_000, concurrency: 32 });
    assert.equal(load.failures, 0, load.firstFailure ?? '');
    stopped = shop.stop();
    await stopped;
    await trace.ended;
    const { lost } = await trace.stop();
    assert.equal(lost['ringFull'], 0);
  } finally {
    await (stopped ?? shop.stop());
  }
  return order;
}

for (const transport of ['ring', 'perf'] as const) {
  test(`what comes by ${transport} comes in the order in which it was sent`, async (t) => {
    if (!requireBpf(t)) return;
    const { calls, late, moved, afterExit } = await orderOf(transport);
    t.diagnostic(`${calls} calls, ${moved} trees on more than one thread`);
    assert.ok(moved > 0, 'no tree was on more than one thread');
    assert.deepEqual({ late, afterExit }, { late: 0, afterExit: 0 });
  });
}
