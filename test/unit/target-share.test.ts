/** What a rule may spend where its targets do not cost alike. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Governor } from '../../src/session/governor.js';
import {
  costByTarget,
  recentHits,
  type TargetCost,
  TargetShare,
} from '../../src/session/target-share.js';
import { hitSample } from '../../src/spans/records.generated.js';

const STEP = 0.01;
/** Five per cent of a CPU. */
const BUDGET = 0.05e9;
const CALL_NS = 10_000;

/** Of a second: so many samples, each of a hit that costs as much. */
const sampled = (counts: readonly number[]): TargetCost[] =>
  counts.filter((count) => count > 0).map((samples) => ({ ns: samples * CALL_NS, samples }));

function sample(timeNs: number, tgid: number, index: number): Buffer {
  const element = Buffer.alloc(hitSample.size);
  element.writeBigUInt64LE(BigInt(timeNs), hitSample.timeNs);
  element.writeUInt32LE(tgid, hitSample.tgid);
  element.writeUInt32LE(index, hitSample.function);
  return element;
}

describe('the budgets that targets share', () => {
  test('are all of them where each costs the same, or where nothing is known', () => {
    assert.equal(new TargetShare().step(STEP, 10, []), 10);
    const alike = new TargetShare().step(STEP, 10, sampled(Array<number>(10).fill(1_000)));
    assert.ok(alike > 9.9, `${alike}`);
  });

  test('are one where one target costs all, and of one that is alone', () => {
    const share = new TargetShare();
    const hot = share.step(STEP, 10, sampled([100_000, 0, 1]));
    assert.ok(hot >= 1 && hot < 1.01, `${hot}`);
    assert.equal(new TargetShare().step(STEP, 1, sampled([5])), 1);
  });

  test('are not fewer for a handful of samples that are one target by chance', () => {
    assert.equal(new TargetShare().step(STEP, 2, sampled([2, 0])), 2);
  });

  test('grow back when what is dear is spread', () => {
    const share = new TargetShare();
    assert.ok(share.step(STEP, 4, sampled([10_000])) < 1.1);
    const even = sampled([10_000, 10_000, 10_000, 10_000]);
    assert.ok(share.step(1, 4, even) < 1.2);
    for (let at = 0; at < 30; at++) share.step(1, 4, even);
    assert.ok(share.step(1, 4, even) > 3.9);
  });
});

describe('samples of hits', () => {
  test('count for a second, by function and process', () => {
    const now = 5e9;
    const samples = Buffer.concat([
      sample(0, 0, 0),
      sample(now - 2e9, 7, 3),
      sample(now - 1e6, 7, 3),
      sample(now - 1e6, 7, 3),
      sample(now - 1e6, 8, 3),
      sample(now - 1e6, 8, 0),
    ]);
    const hits = recentHits(samples, now);
    assert.deepEqual(
      [...hits].map(([index, byTarget]) => [index, [...byTarget]]),
      [
        [
          3,
          [
            [7, 2],
            [8, 1],
          ],
        ],
        [0, [[8, 1]]],
      ],
    );
    const costs = costByTarget(hits, (index) => (index === 0 ? 5 : 10));
    assert.deepEqual(
      [...costs],
      [
        [7, { ns: 20, samples: 2 }],
        [8, { ns: 15, samples: 2 }],
      ],
    );
    assert.equal(costByTarget(hits, () => 0).size, 0);
  });
});

/** Calls a second of each function in each target; they are traced in all alike. */
function run(demands: readonly (readonly number[])[], seconds: number) {
  const targets = demands.length;
  const governor = new Governor(BUDGET * targets);
  const share = new TargetShare();
  const away = new Set<number>();
  /** Of each target in the last second. */
  const spentNs = Array<number>(targets).fill(0);
  const cost = (index: number): number => (away.has(index) ? 0 : CALL_NS);
  for (let now = 0; now < seconds; now += STEP) {
    const rates = demands.map((calls) =>
      calls.reduce((sum, each, index) => sum + each * cost(index), 0),
    );
    // A sample of every sixteenth hit.
    const costs = rates.map((ns) => ({ ns: ns / 16, samples: ns / CALL_NS / 16 }));
    governor.setBudget(BUDGET * share.step(STEP, targets, costs));
    const functions = (demands[0] ?? []).map((_, index) => ({
      index,
      calls:
        demands.reduce((sum, calls) => sum + (away.has(index) ? 0 : (calls[index] ?? 0)), 0) * STEP,
      callNs: CALL_NS,
      spanNs: 0,
      countNs: null,
    }));
    for (const action of governor.step(
      STEP,
      functions.filter(({ calls }) => calls > 0),
    )) {
      if (action.do === 'withdraw') for (const each of action.functions) away.add(each);
      if (action.do === 'restore') away.delete(action.function);
    }
    if (now >= seconds - 1)
      rates.forEach((ns, at) => (spentNs[at] = (spentNs[at] ?? 0) + ns * STEP));
  }
  return { spentNs, away };
}

describe('a rule of several targets', () => {
  test('keeps the one that is hot within its own budget, though all together are', () => {
    const idle = [10, 10];
    const { spentNs, away } = run([[20_000, 1_000], idle, idle, idle, idle, idle], 10);
    assert.ok(Math.max(...spentNs) <= BUDGET, `${spentNs.join(' ')}`);
    assert.deepEqual([...away], [0]);
  });

  test('leaves those alone of which each is within its own', () => {
    const { away } = run(
      Array.from({ length: 6 }, () => [4_000, 100]),
      10,
    );
    assert.equal(away.size, 0);
  });
});
