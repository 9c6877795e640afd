/**
 * The agent traces a service under load while its Collector fails in every way: what fits is
 * delivered, the rest is counted, call by call, and the service notices nothing.
 */
import assert from 'node:assert/strict';
import { describe, test, type TestContext } from 'node:test';
import { status } from '@grpc/grpc-js';
import type { Account } from '../tools/account.js';
import { Collector } from '../tools/collector.js';
import { inFolder } from '../tools/folder.js';
import type { OtlpSpan } from '../tools/otlp.js';
import { sleep } from '../tools/process.js';
import { Receiver, retryInfo } from '../tools/receiver.js';
import { requireBpf } from '../tools/require.js';
import { TracedShop, type TracedShopOptions } from '../tools/traced-shop.js';

/** So that a Collector that does not answer is given up within the test. */
const IMPATIENT = { OTEL_EXPORTER_OTLP_TIMEOUT: '1500' };

interface Scene {
  folder: string;
  collector: Collector;
  traced: TracedShop;
}

async function withCollector(
  options: Omit<TracedShopOptions, 'endpoint'>,
  run: (scene: Scene) => Promise<void>,
): Promise<void> {
  await inFolder(async (folder) => {
    const collector = await Collector.start(folder);
    try {
      const traced = await TracedShop.start(folder, {
        endpoint: collector.endpoint,
        env: IMPATIENT,
        ...options,
      });
      try {
        await run({ folder, collector, traced });
      } finally {
        await traced.stop();
      }
    } finally {
      await collector.kill();
    }
  });
}

async function withReceiver(
  receiver: Receiver,
  run: (traced: TracedShop) => Promise<void>,
): Promise<void> {
  try {
    await inFolder(async (folder) => {
      const { endpoint } = receiver;
      const traced = await TracedShop.start(folder, { endpoint, env: IMPATIENT });
      try {
        await run(traced);
      } finally {
        await traced.stop();
      }
    });
  } finally {
    receiver.stop();
  }
}

/** Every call arrived, or is a counted loss; what arrived twice was said to be possible. */
function assertExact(t: TestContext, account: Account, spans: readonly OtlpSpan[]): void {
  const distinct = new Set(spans.map(({ spanId }) => spanId)).size;
  const twice = spans.length - distinct;
  t.diagnostic(
    `${account.calls} calls; ${distinct} spans, ${twice} twice (at most ${account.repeated}); lost ${JSON.stringify(account.lost)}`,
  );
  assert.equal(distinct + account.allLost, account.calls);
  assert.ok(twice <= account.repeated, `${twice} spans came twice, ${account.repeated} counted`);
}

/** Losses on the way to the Collector; those before it are none of its business. */
function lostOnTheWay({ lost }: Account): Record<string, number> {
  return Object.fromEntries(
    Object.entries(lost).filter(([reason]) =>
      ['queue', 'export', 'spool', 'spoolCorrupt'].includes(reason),
    ),
  );
}

// Each has its own service, agent and Collector, and mostly waits.
describe('delivery', { concurrency: 2 }, () => {
  test('the Collector is away for a minute: all fits the spool', async (t) => {
    if (!requireBpf(t)) return;
    // The queue holds a few seconds of it.
    const sizes = { queueSize: '1MiB', spool: '256MiB' };
    await withCollector(sizes, async ({ collector, traced }) => {
      const load = traced.order(30, 66);
      await sleep(2_000);
      await collector.stop();
      await sleep(60_000);
      const { waiting } = await traced.account();
      assert.ok(waiting > 30 * 20 * 30, `${waiting} spans wait`);
      await collector.resume();
      await load;
      const account = await traced.settled();
      assertExact(t, account, await collector.spans());
      assert.deepEqual(lostOnTheWay(account), {});
    });
  });

  test('the Collector is killed, twice', async (t) => {
    if (!requireBpf(t)) return;
    await withCollector({ spool: '64MiB' }, async ({ collector, traced }) => {
      const load = traced.order(60, 9);
      for (let kills = 0; kills < 2; kills++) {
        await sleep(1_500);
        await collector.kill();
        await sleep(1_500);
        await collector.resume();
      }
      await load;
      const account = await traced.settled();
      assertExact(t, account, await collector.spans());
      assert.deepEqual(lostOnTheWay(account), {});
    });
  });

  test('the Collector stalls', async (t) => {
    if (!requireBpf(t)) return;
    await withCollector({ spool: '64MiB' }, async ({ collector, traced }) => {
      const load = traced.order(60, 10);
      await sleep(1_500);
      collector.stall();
      await sleep(6_000);
      collector.proceed();
      await load;
      const account = await traced.settled();
      assertExact(t, account, await collector.spans());
      assert.deepEqual(lostOnTheWay(account), {});
      assert.ok(account.repeated > 0, 'what was not answered may have come twice');
    });
  });

  test('answers come too late: what came twice was counted', async (t) => {
    if (!requireBpf(t)) return;
    const receiver = await Receiver.start({
      answer: async (_spans, request) => {
        if (request % 3 === 0) await sleep(2_500);
        return { accept: true };
      },
    });
    await withReceiver(receiver, async (traced) => {
      await traced.order(60, 6);
      const account = await traced.settled();
      // Of requests that were given up on, the last are taken only now.
      await sleep(3_000);
      assertExact(t, account, receiver.spans);
      assert.deepEqual(lostOnTheWay(account), {});
      const twice = receiver.spans.length - account.delivered;
      assert.ok(twice > 0, 'nothing came twice');
    });
  });

  test('small queue and small spool overflow', async (t) => {
    if (!requireBpf(t)) return;
    const sizes = { queueSize: '256KiB', spool: '512KiB' };
    await withCollector(sizes, async ({ collector, traced }) => {
      await collector.stop();
      await traced.order(100, 6);
      const { lost } = await traced.account();
      assert.ok((lost['spool'] ?? 0) > 0, JSON.stringify(lost));
      await collector.resume();
      const account = await traced.settled();
      assertExact(t, account, await collector.spans());
    });
  });

  test('a small queue without a spool overflows', async (t) => {
    if (!requireBpf(t)) return;
    await withCollector({ queueSize: '256KiB' }, async ({ collector, traced }) => {
      await collector.stop();
      await traced.order(100, 4);
      const { lost } = await traced.account();
      assert.ok((lost['queue'] ?? 0) > 0, JSON.stringify(lost));
      assert.equal(lost['spool'] ?? 0, 0);
      await collector.resume();
      const account = await traced.settled();
      assertExact(t, account, await collector.spans());
    });
  });

  test('RESOURCE_EXHAUSTED with a delay: all comes later', async (t) => {
    if (!requireBpf(t)) return;
    let refused = 0;
    const receiver = await Receiver.start({
      answer: (_spans, request) => {
        if (request % 3 !== 0) return { accept: true };
        refused++;
        const details = retryInfo(1);
        return { accept: false, code: status.RESOURCE_EXHAUSTED, message: 'full', details };
      },
    });
    await withReceiver(receiver, async (traced) => {
      await traced.order(60, 6);
      const account = await traced.settled();
      assertExact(t, account, receiver.spans);
      assert.deepEqual(lostOnTheWay(account), {});
      assert.equal(account.repeated, 0, 'it was answered');
      assert.ok(refused > 0);
    });
  });

  test('RESOURCE_EXHAUSTED without a delay, and partial success', async (t) => {
    if (!requireBpf(t)) return;
    let refused = 0;
    const receiver = await Receiver.start({
      answer: (spans, request) => {
        if (request % 4 === 1) {
          refused += spans.length;
          return { accept: false, code: status.RESOURCE_EXHAUSTED, message: 'full' };
        }
        if (request % 4 !== 2) return { accept: true };
        // The receiver itself keeps what it is told to accept.
        const rejected = spans.splice(0, Math.ceil(spans.length / 3)).length;
        refused += rejected;
        return { accept: true, rejected, message: 'too many attributes' };
      },
    });
    await withReceiver(receiver, async (traced) => {
      await traced.order(60, 5);
      const account = await traced.settled();
      assertExact(t, account, receiver.spans);
      assert.ok(refused > 0);
      assert.deepEqual(lostOnTheWay(account), { export: refused });
    });
  });

  test('stopped while the Collector is away: the next start delivers', async (t) => {
    if (!requireBpf(t)) return;
    await withCollector({ spool: '64MiB' }, async ({ collector, traced }) => {
      const { agent } = traced;
      const load = traced.order(60, 6);
      await sleep(1_500);
      await collector.stop();
      await sleep(1_500);
      const { repeated } = await traced.account();
      // Under load: nobody waits for a moment of rest.
      const stopped = await agent.stop();
      assert.equal(stopped.status, 0, agent.process.output);
      assert.ok(stopped.ms < 5_000, `${stopped.ms} ms`);
      const end = agent.said('the agent has stopped');
      const { calls, lost } = end as unknown as { calls: number; lost: Record<string, number> };
      await load;
      await collector.resume();
      traced.agent = await agent.again();
      const second = await spoolEmptied(traced);
      const account = {
        ...second,
        calls,
        lost,
        allLost: Object.values(lost).reduce((sum, each) => sum + each, 0),
        repeated: repeated + second.repeated,
      };
      assertExact(t, account, await collector.spans());
      assert.deepEqual(lostOnTheWay(account), {});
      assert.ok(second.delivered > 0);
    });
  });
});

async function spoolEmptied(traced: TracedShop): Promise<Account> {
  for (let tries = 0; ; tries++) {
    const account = await traced.account();
    if (account.waiting === 0 && account.delivered > 0) return account;
    assert.ok(tries < 300, JSON.stringify(account));
    await sleep(100);
  }
}
