/**
 * Whether anything was called since the last look is known without looking at all counts, and while
 * nothing is nobody looks.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { planTrace } from '../../src/engine.js';
import { knownFeatures } from '../../src/native/features.js';
import { loadNative } from '../../src/native/load.js';
import { Session } from '../../src/session/session.js';
import { ruleOf } from '../../src/session/wishes.js';
import { withCrowd } from '../tools/crowd.js';
import { traceOptions } from '../tools/options.js';
import { sleep } from '../tools/process.js';
import { requireBpf, requireCommands } from '../tools/require.js';
import { Shop } from '../tools/shop.js';
import { Tracer } from '../tools/tracer.js';

const WINDOW_MS = 2_000;
/** Of the tracer's main thread while it rests, a second: half of what it took to look by the clock. */
const WAKES = 4;
const REST_MS = 30_000;
const NOTICE_MS = 10_000;

async function until(what: string, ms: number, isTrue: () => boolean): Promise<void> {
  for (const end = Date.now() + ms; !isTrue();) {
    assert.ok(Date.now() < end, `${what}, after ${ms} ms`);
    await sleep(10);
  }
}

/** How often the process's main thread has gone to sleep. */
function sleepsOf(pid: number): number {
  const status = readFileSync(`/proc/${pid}/task/${pid}/status`, 'utf8');
  return Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)?.[1]);
}

/** Resolves when the tracer is hardly ever woken. */
async function rest({ pid }: Tracer): Promise<void> {
  const end = Date.now() + REST_MS;
  for (let rate = Infinity; rate >= WAKES;) {
    assert.ok(Date.now() < end, `woken ${rate} times a second`);
    const before = sleepsOf(pid);
    await sleep(WINDOW_MS);
    rate = (sleepsOf(pid) - before) / (WINDOW_MS / 1e3);
  }
}

test('what was called is seen once; hits of the runtime count as well', async (t) => {
  if (!requireBpf(t)) return;
  const native = loadNative();
  const features = await knownFeatures(native);
  const shop = await Shop.start();
  const options = traceOptions(shop.pid, 'main.tick');
  const session = await Session.open(native, features, {
    transport: 'ring',
    ringBytes: 1 << 20,
    maxFunctions: 10,
    everyExec: false,
    programSpans: false,
    keepsWaits: false,
    allocationStacks: false,
  });
  await session.start(() => undefined);
  try {
    const { modules, costs } = await planTrace(native, options);
    const [module] = modules;
    assert.ok(module);
    const rule = ruleOf(options, features, costs, { id: 'test', name: 'test' } as never);
    const maps = await session.addRule({ readsArguments: false, allocations: false });
    const attachment = await session.add(module.plan, maps, rule.options, false);
    session.targets.add(shop.pid, false);
    const { layout } = module.plan;
    if (layout) session.targets.setGoThreads(shop.pid, layout);
    session.targets.addModule(shop.pid, { bias: 0, attachment: attachment.number }, false);
    await attachment.attach(`/proc/${shop.pid}/exe`, shop.pid);
    const { firstFunction } = attachment;
    const calls = (): number => session.calls()[firstFunction] ?? 0;
    let seen = session.activity();
    const wasActive = (): boolean => {
      const before = seen;
      seen = session.activity();
      return seen !== before;
    };
    assert.equal(calls(), 0);
    for (let round = 1; round <= 3; round++) {
      const response = await fetch(`${shop.url}/burn?calls=100&goroutines=2`);
      assert.equal(response.status, 200);
      assert.equal(wasActive(), true);
      assert.equal(calls(), 100 * round);
      // Goroutines of the server may begin and end a moment later.
      for (let look = 0; wasActive(); look++) assert.ok(look < 1_000);
    }
    for (let round = 1; round <= 3; round++) {
      let told = 0;
      assert.ok(session.onceActive(session.activity(), () => told++));
      const response = await fetch(`${shop.url}/burn?calls=100&goroutines=2`);
      assert.equal(response.status, 200);
      await until('nothing was told', NOTICE_MS, () => told > 0);
      await session.drain();
      assert.equal(told, 1);
    }
    // Goroutines were started.
    assert.ok((session.calls()[0] ?? 0) >= 6);
    await session.detach(0);
    await maps.close();
  } finally {
    await session.close();
    await shop.stop();
  }
});

for (const transport of ['ring', 'perf']) {
  test(`a program that was idle is governed as soon as it calls much, by ${transport}`, async (t) => {
    if (!requireBpf(t) || !requireCommands(t, ['gcc'])) return;
    await withCrowd(async (crowd) => {
      const args = ['-p', String(crowd.pid), '--transport', transport, '--max-overhead', '5%'];
      const tracer = await Tracer.attach([...args, 'busy_*']);
      const told = (): boolean => tracer.notices.some(({ code }) => code === 'OVER_BUDGET');
      await rest(tracer);
      crowd.say('begin');
      crowd.say(String(NOTICE_MS));
      await until('not governed', NOTICE_MS, told);
      crowd.kill();
      assert.equal(await tracer.ended(), 0, tracer.stderr);
    });
  });
}
