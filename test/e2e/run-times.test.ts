/** The kernel times runs of BPF programs for moments only, and what they take is known all the same. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startTrace } from '../../src/engine.js';
import { knownFeatures, runTimesAreOn } from '../../src/native/features.js';
import { loadNative } from '../../src/native/load.js';
import type { Native, Programs } from '../../src/native/native.js';
import { traceOptions } from '../tools/options.js';
import { need, requireBpf } from '../tools/require.js';
import { Shop } from '../tools/shop.js';

const CALLS = 20_000;
/** Others on this host may have runs timed for a moment too. */
const ATTEMPTS = 300;

/** Why there are no moments to be seen. */
async function withoutMoments(): Promise<string | null> {
  if (!(await knownFeatures(loadNative())).runTimeStatistics) return 'no BPF run times';
  return runTimesAreOn() ? 'runs of BPF programs are timed all the time' : null;
}

/** The addon, with what it has loaded and when it lets runs be timed in sight. */
function watch(native: Native): {
  native: Native;
  runs: () => number;
  windows: () => number;
  closed: Promise<void>;
} {
  const loaded: Programs[] = [];
  let windows = 0;
  let tell: () => void;
  const closed = new Promise<void>((resolve) => (tell = resolve));
  const load: Native['load'] = async (each) => {
    const programs = await native.load(each);
    loaded.push(programs);
    return programs;
  };
  const enableRunTimeStatistics: Native['enableRunTimeStatistics'] = () => {
    const statistics = native.enableRunTimeStatistics();
    windows++;
    const close = (): void => {
      statistics.close();
      tell();
    };
    return { close };
  };
  return {
    native: Object.assign(Object.create(native) as Native, { load, enableRunTimeStatistics }),
    runs: () =>
      loaded
        .flatMap((programs) => programs.runTimes())
        .reduce((sum, { program, runCount }) => sum + (program === 'enter' ? runCount : 0), 0),
    windows: () => windows,
    closed,
  };
}

test('runs are timed for a moment, and hits tell of the rest', { timeout: 120_000 }, async (t) => {
  if (!requireBpf(t)) return;
  if (!need(t, await withoutMoments())) return;
  const shop = await Shop.start();
  const { native, runs, windows, closed } = watch(loadNative());
  const trace = await startTrace(native, traceOptions(shop.pid, 'main.tick', { sample: 0 }));
  try {
    const burn = async (): Promise<void> => {
      const response = await fetch(`${shop.url}/burn?calls=${CALLS}&goroutines=1`);
      assert.equal(response.status, 200);
    };
    await burn();
    assert.ok(runs() > 0);
    await closed;
    let untimed = 0;
    for (let attempt = 0; attempt < ATTEMPTS && untimed === 0; attempt++) {
      const [before, during] = [runs(), windows()];
      await burn();
      if (runs() === before && windows() === during) untimed = CALLS;
    }
    assert.equal(untimed, CALLS);
    const timed = runs();
    const { functions, overhead } = await trace.stop();
    const calls = functions[0]?.calls ?? 0;
    t.diagnostic(`${timed} of ${calls} entries timed; ${JSON.stringify(overhead)}`);
    const { predicted, measured } = overhead;
    assert.ok(timed < calls);
    assert.ok(predicted !== null && measured !== null);
    assert.ok(measured > predicted / 5 && measured < predicted * 5);
  } finally {
    await trace.stop();
    await shop.stop();
  }
});

test('a trace that ends at once has timed what it saw', async (t) => {
  if (!requireBpf(t)) return;
  if (!need(t, await withoutMoments())) return;
  const shop = await Shop.start();
  const { native, runs, windows } = watch(loadNative());
  const trace = await startTrace(native, traceOptions(shop.pid, 'main.tick'));
  try {
    assert.equal((await fetch(`${shop.url}/burn?calls=10&goroutines=1`)).status, 200);
    const timed = runs();
    const { functions, overhead } = await trace.stop();
    assert.equal(functions[0]?.calls, 10);
    assert.equal(timed, 10);
    assert.equal(windows(), 1);
    assert.ok((overhead.measured ?? 0) > 0);
  } finally {
    await trace.stop();
    await shop.stop();
  }
});
