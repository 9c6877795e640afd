/** Of calls without number beneath one call few are spans, one of which stands for the others. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { requireBpf } from '../tools/require.js';
import { Shop } from '../tools/shop.js';
import { totalLost, Tracer } from '../tools/tracer.js';

const BURNER = 'main.(*BurnHandler).ServeHTTP.func1';
const TICK = 'main.tick';
const CALLS = 100_000;

for (const [what, args] of [
  ['one tree', []],
  ['through a perf buffer', ['--transport', 'perf']],
] as const) {
  test(`${CALLS} siblings, ${what}`, async (t) => {
    if (!requireBpf(t)) return;
    const shop = await Shop.start();
    try {
      const tracer = await Tracer.attach([
        ...['--pid', String(shop.pid), BURNER, TICK, '--fold', '20', '--ring-size', '64M', ...args],
      ]);
      const response = await fetch(`${shop.url}/burn?calls=${CALLS}&goroutines=1`);
      assert.equal(response.status, 200);
      const { calls } = await shop.counters();
      assert.equal(await tracer.stop(), 0, tracer.stderr);
      const { spans, result } = tracer;
      t.diagnostic(`${spans.length} spans, ${JSON.stringify(result.lost)}`);
      assert.equal(calls[TICK], CALLS);
      assert.equal(spans.length + totalLost(result), CALLS + 1);
      assert.ok(spans.length < 1_000, 'a back end is flooded');
      const burner = spans.find(({ name }) => name === BURNER);
      const ticks = spans.filter(({ name }) => name === TICK);
      assert.ok(ticks.every(({ parentSpanId }) => parentSpanId === burner?.spanId));
      const folds = ticks.filter(({ attributes }) => attributes['underspan.folded.count']);
      const number = (key: string): number =>
        folds.reduce(
          (sum, { attributes }) => sum + Number(attributes[`underspan.folded.${key}`]),
          0,
        );
      assert.ok(folds.length > 0);
      const { ringFull = 0, torn = 0 } = result.lost;
      assert.equal(ticks.length - folds.length + number('count'), CALLS - ringFull - torn);
      assert.ok(number('total') > 0 && number('total') <= (burner?.durationNano ?? 0));
    } finally {
      await shop.stop();
    }
  });
}
