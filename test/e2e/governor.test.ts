/** A budget: what costs more than it is thinned, then withdrawn, and no other call is lost for it. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { requireBpf } from '../tools/require.js';
import { Shop } from '../tools/shop.js';
import { until } from '../tools/agent.js';
import { buildTarget } from '../tools/go.js';
import { RunningProcess, sleep } from '../tools/process.js';
import { type JsonSpan, totalLost, trace, Tracer } from '../tools/tracer.js';

/** Called for every request, and far too seldom to cost anything. */
const SELDOM = 'main.(*Shop).PlaceOrder';
const HOT = 'main.tick';
const ORDERS = 40;
/** Between two of them, so that they stay seldom on a fast host, and cheap on a slow one. */
const ORDER_MS = 5;

/** After which what is too dear has been looked at again. */
const LOOK_MS = 18_000;
/** Calls a second of what is too dear, but not to be counted. */
const RATE = 20_000;
/** Of them at once, at most. */
const BURST = RATE / 10;

interface PlannedCost {
  callNano: number;
  entry: { nano: number };
}

async function order(shop: Shop): Promise<void> {
  const response = await fetch(`${shop.url}/order?items=2`);
  // Every tenth is declined.
  assert.ok(response.status === 200 || response.status === 402, `${response.status}`);
  await response.arrayBuffer();
}

/** As a share of a CPU: between what the entries of the hot function cost and what its calls do. */
async function countingBudget(shop: Shop): Promise<number> {
  const args = ['--dry-run', '--output', 'json', '--pid', String(shop.pid), HOT];
  const { stdout } = await trace(['attach', ...args]);
  const { functions } = JSON.parse(stdout) as { functions: [PlannedCost] };
  const [{ entry, callNano }] = functions;
  return (RATE * (callNano + 2 * entry.nano)) / 2 / 1e9;
}

/** Calls of the hot function at an even rate: what a busy host did not make in time is left out. */
async function burn(
  shop: Shop,
  ms: number,
  besides = (): Promise<void> => Promise.resolve(),
): Promise<void> {
  const begin = Date.now();
  for (let made = 0; Date.now() < begin + ms;) {
    await sleep(50);
    const behind = Math.round(RATE * ((Date.now() - begin) / 1e3)) - made;
    const due = Math.min(behind, BURST);
    const response = await fetch(`${shop.url}/burn?calls=${due}&goroutines=1`);
    assert.equal(response.status, 200);
    made += behind;
    await besides();
  }
}

test('a hot function is withdrawn, looked at again, and the others are counted exactly', async (t) => {
  if (!requireBpf(t)) return;
  const shop = await Shop.start();
  const cache = mkdtempSync(join(tmpdir(), 'governor-'));
  try {
    const args = ['--max-overhead', '5%', '--pid', String(shop.pid), SELDOM, HOT];
    const tracer = await Tracer.attach(args, { UNDERSPAN_CACHE_DIR: cache });
    // Links are replaced while the others go on.
    let ordered = 0;
    for (const end = Date.now() + LOOK_MS; Date.now() < end;) {
      const burning = fetch(`${shop.url}/burn?calls=400000&goroutines=2`);
      for (let count = 0; count < ORDERS; count++, ordered++) {
        await order(shop);
        await sleep(ORDER_MS);
      }
      assert.equal((await burning).status, 200);
    }
    const { calls } = await shop.counters();
    assert.equal(await tracer.stop(), 0, tracer.stderr);
    const counted = Object.fromEntries(
      tracer.result.functions.map(({ name, calls }) => [name, calls]),
    );
    t.diagnostic(`${counted[HOT]} of ${calls[HOT]} calls; ${JSON.stringify(tracer.result.lost)}`);
    assert.equal(counted[SELDOM], calls[SELDOM]);
    assert.equal(counted[SELDOM], ordered);
    assert.ok((counted[HOT] ?? 0) > 0 && (counted[HOT] ?? 0) < (calls[HOT] ?? 0));
    assert.ok((tracer.result.lost['governor'] ?? 0) > 0);
    assert.equal(tracer.result.lost['unpaired'], 0);
    const all = Object.values(counted).reduce((sum, each) => sum + each, 0);
    assert.equal(tracer.spans.length + totalLost(tracer.result), all);
    const told = tracer.notices.filter(({ code }) => code === 'OVER_BUDGET');
    // Perhaps it was only counted at first.
    assert.ok(told.length === 1 || told.length === 2);
    assert.match(
      told.at(-1)?.message ?? '',
      /main\.tick costs [\d.]+ % of a CPU, and the budget is 5 %/,
    );
    // The next tracer will attach to it last.
    const remembered = readdirSync(cache).filter((name) => name.startsWith('hot-'));
    assert.equal(remembered.length, 1);
  } finally {
    await shop.stop();
    rmSync(cache, { recursive: true });
  }
});

test('what is too dear is only counted, and every call is', async (t) => {
  if (!requireBpf(t)) return;
  const shop = await Shop.start();
  try {
    const budget = await countingBudget(shop);
    const args = ['--max-overhead', `${(budget * 100).toFixed(2)}%`, '--pid', String(shop.pid)];
    const tracer = await Tracer.attach([...args, SELDOM, HOT]);
    // Until it has been looked at again.
    await burn(shop, LOOK_MS, () => order(shop));
    const { calls } = await shop.counters();
    assert.equal(await tracer.stop(), 0, tracer.stderr);
    const found = new Map(tracer.result.functions.map((each) => [each.name, each]));
    const { governor } = tracer.result.lost;
    t.diagnostic(
      `${found.get(HOT)?.calls} calls, ${governor} of them only counted; budget ${budget}`,
    );
    assert.equal(found.get(HOT)?.calls, calls[HOT]);
    assert.equal(found.get(SELDOM)?.calls, calls[SELDOM]);
    assert.equal(tracer.result.lost['unpaired'], 0);
    const all = (found.get(HOT)?.calls ?? 0) + (found.get(SELDOM)?.calls ?? 0);
    assert.equal(tracer.spans.length + totalLost(tracer.result), all);
    const told = tracer.notices.filter(({ code }) => code === 'OVER_BUDGET');
    assert.match(
      told.map(({ message }) => message).join('\n'),
      /^tracing main\.tick .* only counted/,
    );
    // By far the most, but before and at the look there were durations.
    assert.ok((governor ?? 0) > 0.8 * (calls[HOT] ?? 0), `${governor}`);
    assert.ok(found.get(HOT)?.calls !== governor);
  } finally {
    await shop.stop();
  }
});

test('a target that is hot has no more than its own budget, however many are idle', async (t) => {
  if (!requireBpf(t)) return;
  const shops: Shop[] = [];
  try {
    for (let count = 0; count < 4; count++) shops.push(await Shop.start());
    const [hot] = shops as [Shop];
    // All together may cost twice what it does.
    const budget = await countingBudget(hot);
    const pids = shops.flatMap(({ pid }) => ['--pid', String(pid)]);
    const args = ['--max-overhead', `${(budget * 100).toFixed(2)}%`, ...pids, SELDOM, HOT];
    const tracer = await Tracer.attach(args);
    for (let round = 0; round < 8; round++) {
      await burn(hot, 1_000);
      for (const shop of shops) await order(shop);
    }
    const { calls } = await hot.counters();
    assert.equal(await tracer.stop(), 0, tracer.stderr);
    const counted = new Map(tracer.result.functions.map((each) => [each.name, each.calls]));
    const { governor } = tracer.result.lost;
    t.diagnostic(
      `${counted.get(HOT)} calls, ${governor} of them only counted; budget ${budget}, predicted ${tracer.result.overhead.predicted}`,
    );
    assert.equal(counted.get(HOT), calls[HOT]);
    assert.equal(counted.get(SELDOM), 8 * shops.length);
    assert.equal(tracer.result.lost['unpaired'], 0);
    // By far the most where the host lets it call at an even rate.
    assert.ok((governor ?? 0) > 0.3 * (calls[HOT] ?? 0), `${governor}`);
    assert.ok((tracer.result.overhead.predicted ?? 1) < budget, `${budget}`);
    const told = tracer.notices.filter(({ code }) => code === 'OVER_BUDGET');
    assert.match(told[0]?.message ?? '', /^tracing main\.tick .* only counted/);
  } finally {
    await Promise.all(shops.map((shop) => shop.stop()));
  }
});

test('where following goroutines alone is too dear, nothing is traced for some time', async (t) => {
  if (!requireBpf(t)) return;
  const shop = await Shop.start();
  try {
    const args = ['--max-overhead', '1%', '--pid', String(shop.pid), SELDOM];
    const tracer = await Tracer.attach(args);
    const has = (code: string): true | null =>
      tracer.notices.some((notice) => notice.code === code) || null;
    const takeOrders = async (): Promise<void> => {
      for (let count = 0; count < ORDERS; count++) await order(shop);
    };
    await takeOrders();
    let storms = true;
    const storm = (async () => {
      while (storms) await fetch(`${shop.url}/burn?calls=20000&goroutines=20000`);
    })();
    try {
      await until('suspended', () => has('TRACING_SUSPENDED'));
    } finally {
      storms = false;
      await storm;
    }
    await takeOrders();
    await until('resumed', () => has('TRACING_RESUMED'), 60_000);
    await takeOrders();
    const { calls } = await shop.counters();
    assert.equal(await tracer.stop(), 0, tracer.stderr);
    const [seldom] = tracer.result.functions;
    t.diagnostic(`${seldom?.calls} of ${calls[SELDOM]} calls`);
    // All but those that were made while it was not traced.
    assert.equal(calls[SELDOM], 3 * ORDERS);
    assert.equal(seldom?.calls, 2 * ORDERS);
    assert.equal(tracer.spans.length + totalLost(tracer.result), seldom?.calls);
    assert.equal(tracer.result.lost['unpaired'], 0);
    assert.equal(tracer.result.suspensions, 1);
    const [suspended] = tracer.notices.filter(({ code }) => code === 'TRACING_SUSPENDED');
    assert.match(suspended?.message ?? '', /the budget is 1 %: nothing is traced of .* for 15 s/);
  } finally {
    await shop.stop();
  }
});

/** Requests a second, each of which lets goroutines wait, and none of which calls what is traced. */
const WAITING_RATE = 2_000;

test('what calls wait for is looked at for as much of the time as the budget pays for', async (t) => {
  if (!requireBpf(t)) return;
  const binary = await buildTarget('cost');
  const service = await RunningProcess.start(binary, ['serve', '1']);
  try {
    const url = await service.until(
      'listening',
      () => /^listening on (\S+)$/m.exec(service.output)?.[1] ?? null,
    );
    let made = 0;
    const call = async (): Promise<void> => {
      for (let count = 0; count < ORDERS; count++, made++) {
        assert.equal((await fetch(`${url}/usage`)).status, 200);
        await sleep(ORDER_MS);
      }
    };
    const args = ['--waits', '--max-overhead', '2%', '--pid', String(service.pid), 'main.usage'];
    const tracer = await Tracer.attach(args);
    await call();
    const load = await RunningProcess.start(binary, ['load', url, String(WAITING_RATE), '8']);
    while (load.running) await call();
    assert.equal(await load.ended(), 0, load.output);
    const underLoad = made - ORDERS;
    const isTimed = ({ attributes }: JsonSpan): boolean =>
      attributes['underspan.time.running'] !== undefined;
    // As soon as enough is saved up.
    await until(
      'looked at again',
      async () => {
        await call();
        const last = tracer.spans.at(-1);
        return (last && isTimed(last)) || null;
      },
      60_000,
    );
    assert.equal(await tracer.stop(), 0, tracer.stderr);
    const timed = tracer.spans.map(isTimed);
    const sum = timed.filter(Boolean).length;
    const share = timed.slice(ORDERS, ORDERS + underLoad).filter(Boolean).length / underLoad;
    t.diagnostic(`${Math.round(share * 100)} % of ${underLoad} calls were looked at`);
    assert.ok(timed.slice(0, ORDERS).every(Boolean), 'before');
    assert.ok(share < 0.9, 'under load');
    assert.equal(tracer.notices.filter(({ code }) => code === 'WATCHED_IN_PART').length, 1);
    assert.equal(totalLost(tracer.result), 0);
    assert.equal(tracer.result.waitsLost, 0);
    assert.equal(tracer.result.suspensions, 0);
    const [usage] = tracer.result.functions;
    assert.deepEqual([usage?.calls, usage?.spans, usage?.watchedCalls], [made, made, sum]);
  } finally {
    await service.stop();
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
