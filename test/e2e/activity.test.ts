/** Whether anything was called since the last look is known without looking at all counts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planTrace } from '../../src/engine.js';
import { knownFeatures } from '../../src/native/features.js';
import { loadNative } from '../../src/native/load.js';
import { Session } from '../../src/session/session.js';
import { ruleOf } from '../../src/session/wishes.js';
import { traceOptions } from '../tools/options.js';
import { requireBpf } from '../tools/require.js';
import { Shop } from '../tools/shop.js';

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
    // Goroutines were started.
    assert.ok((session.calls()[0] ?? 0) >= 6);
    await session.detach(0);
    await maps.close();
  } finally {
    await session.close();
    await shop.stop();
  }
});
