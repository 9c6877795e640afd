/** A budget: what costs more than it is thinned, then withdrawn, and no other call is lost for it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { requireBpf } from '../tools/require.js';
import { Shop } from '../tools/shop.js';
import { totalLost, Tracer } from '../tools/tracer.js';

/** Called for every request, and far too seldom to cost anything. */
const SELDOM = 'main.(*Shop).PlaceOrder';
const HOT = 'main.tick';
const BURNS = 12;
const ORDERS = 40;

async function order(shop: Shop): Promise<void> {
  const response = await fetch(`${shop.url}/order?items=2`);
  // Every tenth is declined.
  assert.ok(response.status === 200 || response.status === 402, `${response.status}`);
  await response.arrayBuffer();
}

test('a hot function is withdrawn, comes back, and the others are counted exactly', async (t) => {
  if (!requireBpf(t)) return;
  const shop = await Shop.start();
  try {
    const args = ['--max-overhead', '5%', '--pid', String(shop.pid), SELDOM, HOT];
    const tracer = await Tracer.attach(args);
    // Links are replaced again and again while the others go on.
    for (let burn = 0; burn < BURNS; burn++) {
      const burning = fetch(`${shop.url}/burn?calls=400000&goroutines=2`);
      for (let count = 0; count < ORDERS; count++) await order(shop);
      assert.equal((await burning).status, 200);
    }
    const { calls } = await shop.counters();
    assert.equal(await tracer.stop(), 0, tracer.stderr);
    const counted = Object.fromEntries(
      tracer.result.functions.map(({ name, calls }) => [name, calls]),
    );
    t.diagnostic(`${counted[HOT]} of ${calls[HOT]} calls; ${JSON.stringify(tracer.result.lost)}`);
    assert.equal(counted[SELDOM], calls[SELDOM]);
    assert.equal(counted[SELDOM], BURNS * ORDERS);
    assert.ok((counted[HOT] ?? 0) > 0 && (counted[HOT] ?? 0) < (calls[HOT] ?? 0));
    assert.ok((tracer.result.lost['governor'] ?? 0) > 0);
    assert.equal(tracer.result.lost['unpaired'], 0);
    const all = Object.values(counted).reduce((sum, each) => sum + each, 0);
    assert.equal(tracer.spans.length + totalLost(tracer.result), all);
    const told = tracer.notices.filter(({ code }) => code === 'OVER_BUDGET');
    assert.equal(told.length, 1);
    assert.match(told[0]?.message ?? '', /main\.tick costs \d+ % of a CPU, and the budget is 5 %/);
  } finally {
    await shop.stop();
  }
});

test('what the budget pays for is left alone', async (t) => {
  if (!requireBpf(t)) return;
  const shop = await Shop.start();
  try {
    const tracer = await Tracer.attach(['--max-overhead', '5%', '--pid', String(shop.pid), SELDOM]);
    for (let count = 0; count < ORDERS; count++) await order(shop);
    assert.equal(await tracer.stop(), 0, tracer.stderr);
    assert.equal(tracer.spans.length, ORDERS);
    assert.equal(totalLost(tracer.result), 0);
    assert.deepEqual(
      tracer.notices.filter(({ code }) => code === 'OVER_BUDGET'),
      [],
    );
  } finally {
    await shop.stop();
  }
});
