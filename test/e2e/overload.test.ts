/** More calls than anybody can take: each is a span that arrived or a counted loss. */
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { startTrace } from '../../src/engine.js';
import { loadNative } from '../../src/native/load.js';
import type { Native, ReaderOptions } from '../../src/native/native.js';
import { TRANSPORTS } from '../../src/session/transport.js';
import type { Sink } from '../../src/sinks/sink.js';
import { callRecord } from '../../src/spans/records.generated.js';
import { traceOptions } from '../tools/options.js';
import { closeAll, sinkTo } from '../tools/otlp-sink.js';
import { sleep } from '../tools/process.js';
import { Receiver } from '../tools/receiver.js';
import { requireBpf } from '../tools/require.js';
import { Shop } from '../tools/shop.js';

const CALLS = 400_000;

afterEach(closeAll);

async function burn(shop: Shop): Promise<void> {
  const response = await fetch(`${shop.url}/burn?calls=${CALLS}&goroutines=4`);
  assert.equal(response.status, 200);
}

for (const transport of TRANSPORTS) {
  test(`a small ${transport} and a slow collector`, async (t) => {
    if (!requireBpf(t)) return;
    const receiver = await Receiver.start({
      answer: async () => {
        await sleep(200);
        return { accept: true };
      },
    });
    const shop = await Shop.start();
    try {
      const { sink } = sinkTo(receiver.endpoint, { maxBytes: 1 << 18, patient: true });
      const trace = await startTrace(
        loadNative(),
        traceOptions(shop.pid, 'main.tick', { transport, ringBytes: 1 << 16, sinks: [sink] }),
      );
      await burn(shop);
      const { calls } = await shop.counters();
      const { functions, lost } = await trace.stop();
      t.diagnostic(`${receiver.spans.length} spans, ${JSON.stringify(lost)}`);
      assert.equal(calls['main.tick'], CALLS);
      assert.equal(functions[0]?.calls, CALLS);
      const ids = new Set(receiver.spans.map(({ spanId }) => spanId));
      assert.equal(ids.size, receiver.spans.length, 'a span came twice');
      const allLost = Object.values(lost).reduce((sum, count) => sum + count, 0);
      assert.equal(ids.size + allLost, CALLS);
      assert.ok((lost['ringFull'] ?? 0) > 0, 'the ring was large enough');
      assert.ok((lost['queue'] ?? 0) > 0, 'the collector was fast enough');
    } finally {
      await shop.stop();
    }
  });

  test(`what has piled up in a ${transport} lets other work go on`, async (t) => {
    if (!requireBpf(t)) return;
    const shop = await Shop.start();
    const native = loadNative();
    let reads: ReaderOptions | null = null;
    const read: Native['read'] = (map, options, onBatch) =>
      native.read(map, (reads = options), onBatch);
    const spansOf = new Map<number, number>();
    let turn = 0;
    let turning: NodeJS.Immediate;
    const next = (): void => {
      turn++;
      turning = setImmediate(next);
    };
    const sink: Sink = {
      spans: (tree) => void spansOf.set(turn, (spansOf.get(turn) ?? 0) + tree.length),
      close: () => Promise.resolve(),
    };
    try {
      const trace = await startTrace(
        Object.assign(Object.create(native) as Native, { read }),
        traceOptions(shop.pid, 'main.tick', { transport, ringBytes: 1 << 26, sinks: [sink] }),
      );
      turning = setImmediate(next);
      const burnt = burn(shop);
      for (let pause = 0; pause < 3; pause++) {
        await sleep(20);
        // As if JavaScript were busy.
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
      }
      await burnt;
      await trace.stop();
      clearImmediate(turning);
      const { batchBytes, maxPending } = reads ?? assert.fail('nothing was read');
      const most = maxPending * Math.floor(batchBytes / callRecord.size);
      const counts = [...spansOf.values()];
      const full = counts.filter((spans) => spans >= most / maxPending / 2);
      t.diagnostic(`${turn} turns, ${full.length} with much to do`);
      assert.ok(full.length > 5, 'nothing had piled up');
      assert.ok(counts.every((spans) => spans <= most));
    } finally {
      await shop.stop();
    }
  });
}
