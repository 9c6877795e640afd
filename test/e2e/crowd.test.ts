/** Hundreds of functions that are too dear together, and links that are replaced meanwhile. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withCrowd } from '../tools/crowd.js';
import { descriptorsOf } from '../tools/descriptors.js';
import { sleep } from '../tools/process.js';
import { requireBpf, requireCommands } from '../tools/require.js';
import { totalLost, trace, Tracer } from '../tools/tracer.js';

const BUSY = 8;
const BUSY_MS = 700;
/** Calls of the crowd a second, at most: see crowd.c. */
const RATE = (2 * 256) / 0.04;
const CROWD_MS = 3_000;
const LINKS = 40;

interface PlannedCost {
  callNano: number;
  entry: { nano: number };
}

/** As a share of a CPU: well between what the crowd’s entries cost and what its calls do. */
async function countingBudget(pid: number): Promise<number> {
  const { stdout } = await trace([
    'attach',
    '--dry-run',
    '-o',
    'json',
    '-p',
    `${pid}`,
    'crowd_000',
  ]);
  const { functions } = JSON.parse(stdout) as { functions: [PlannedCost] };
  const [{ entry, callNano }] = functions;
  return (RATE * Math.sqrt(callNano * entry.nano)) / 1e9;
}

test('what is only counted is counted exactly while links are replaced, and they stay few', async (t) => {
  if (!requireBpf(t) || !requireCommands(t, ['gcc'])) return;
  await withCrowd(async (crowd) => {
    const budget = await countingBudget(crowd.pid);
    const tracer = await Tracer.attach([
      ...['-p', String(crowd.pid), '--max-overhead', `${(budget * 100).toFixed(2)}%`],
      ...['busy_*', 'crowd_*'],
    ]);
    crowd.say('begin');
    await sleep(CROWD_MS);
    let links = 0;
    for (let round = 0; round < BUSY; round++) {
      crowd.say(String(BUSY_MS));
      assert.equal(await crowd.hear(), 'done');
      links = Math.max(links, descriptorsOf(tracer.pid).links);
    }
    crowd.end();
    const [ofCrowd, ofBusy] = (await crowd.hear()).split(' ').map(Number) as [number, number];
    assert.equal(await tracer.stop(), 0, tracer.stderr);
    const { functions, lost } = tracer.result;
    const counted = (name: string): number =>
      functions
        .filter((each) => each.name.startsWith(name))
        .reduce((sum, { calls }) => sum + calls, 0);
    t.diagnostic(
      `crowd ${counted('crowd')} of ${ofCrowd}, busy ${counted('busy')} of ${ofBusy}; at most ${links} links; ${JSON.stringify(lost)}`,
    );
    assert.equal(counted('crowd'), ofCrowd);
    assert.ok(counted('busy') < ofBusy);
    assert.ok((lost['governor'] ?? 0) > ofCrowd / 2, 'most are only counted');
    assert.equal(
      tracer.spans.length + totalLost(tracer.result),
      counted('crowd') + counted('busy'),
    );
    assert.ok(links < LINKS, `${links} links`);
  });
});
