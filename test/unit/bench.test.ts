import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { reliefMs, worstSecond } from '../../bench/governor.js';
import { measured, notMeasured, renderReach } from '../../bench/reach.js';
import { ratios, spread } from '../../bench/tools/rounds.js';

describe('what is to be reached', () => {
  const lineOf = (table: string, start: string): string =>
    table.split('\n').find((line) => line.startsWith(`| ${start}`)) ?? '';

  it('is told by the limit of its row, on either side', () => {
    assert.equal(measured('decoded', 400_000, '').reached, true);
    assert.equal(measured('decoded', 399_999, '').reached, false);
    assert.equal(measured('cFloor', 1.3, '').reached, true);
    assert.equal(measured('cFloor', 1.31, '').reached, false);
    assert.equal(measured('cFloor', NaN, '').reached, null);
  });

  it('keeps the rows that were not measured', () => {
    const first = renderReach({ stall: measured('stall', 4, '4 ms') }, '', '2026-01-01');
    const next = renderReach({ relief: notMeasured('no governor') }, first, '2026-01-02');
    assert.match(lineOf(next, "a target's longest stall"), /\| 4 ms \| yes \| 2026-01-01 \|$/);
    assert.match(lineOf(next, 'governor on a hot'), /\| no governor \| {2}\| 2026-01-02 \|$/);
    assert.match(lineOf(next, 'records decoded'), /not yet/);
  });
});

describe('rounds', () => {
  it('compares what is added, round by round', () => {
    assert.deepEqual(ratios([13, 25], [12, 20], [10, 15]), [1.5, 2]);
    assert.deepEqual(spread([3, 1, 2]), { median: 2, least: 1, most: 3 });
  });
});

describe('a hot program under a governor', () => {
  const bins = (...parts: [count: number, calls: number][]): number[] =>
    parts.flatMap(([count, calls]) => Array<number>(count).fill(calls));

  it('is relieved when it is as fast as before, and stays so', () => {
    assert.equal(reliefMs(bins([20, 100], [12, 10], [100, 98]), 100), 120);
    assert.equal(reliefMs(bins([20, 100], [10, 10], [5, 100], [10, 10], [100, 100]), 100), 250);
    assert.equal(reliefMs(bins([100, 95]), 100), 0);
    assert.equal(reliefMs(bins([20, 100], [100, 10]), 100), Infinity);
  });

  it('has a worst second', () => {
    assert.equal(worstSecond(bins([200, 100], [50, 0], [200, 100]), 100), 0.5);
  });
});
