/** When it is not looked at what calls wait for, on a clock of its own. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WatchBudget } from '../../src/session/watch-budget.js';

const STEP = 0.01;
/** Of nanoseconds a second. */
const BUDGET = 50e6;

/** `rate`: what it costs a second while it is looked at. */
function run(
  budget: WatchBudget,
  seconds: number,
  rate: (second: number) => number,
): [string, number][] {
  const log: [string, number][] = [];
  for (let now = 0; now < seconds; now += STEP) {
    const spent = budget.isAway ? 0 : rate(now) * STEP;
    const action = budget.step(STEP, spent, BUDGET);
    if (action) log.push([action, Math.round(now * 10) / 10]);
  }
  return log;
}

test('half of the budget may go there', () => {
  const budget = new WatchBudget();
  assert.deepEqual(
    run(budget, 60, () => BUDGET * 0.45),
    [],
  );
  assert.ok(Math.abs(budget.share - 0.0225) < 1e-6);
});

test('a moment of much is borne', () => {
  const rate = (now: number): number => (now % 1 < 0.03 ? BUDGET : 0);
  assert.deepEqual(run(new WatchBudget(), 60, rate), []);
});

test('more is stopped soon, and looked at again later each time', () => {
  const budget = new WatchBudget();
  const log = run(budget, 120, () => BUDGET * 3);
  assert.deepEqual(
    log.map(([action]) => action),
    ['stop', 'go on', 'stop', 'go on', 'stop', 'go on', 'stop'],
  );
  const at = log.map(([, second]) => second);
  assert.ok((at[0] ?? 9) <= 0.2);
  const waits = [1, 3, 5].map((back) => Math.round((at[back] ?? 0) - (at[back - 1] ?? 0)));
  assert.deepEqual(waits, [15, 30, 60]);
});

test('what it cost is no reason to take back everything, for a while', () => {
  const budget = new WatchBudget();
  assert.equal(budget.isSettling, false);
  run(budget, 0.5, () => BUDGET * 3);
  assert.ok(budget.isAway && budget.isSettling);
  run(budget, 3, () => BUDGET * 3);
  assert.ok(budget.isAway && !budget.isSettling);
  assert.equal(WatchBudget.bearable(BUDGET * STEP, STEP, BUDGET), (BUDGET * STEP) / 2);
  assert.equal(WatchBudget.bearable(1, STEP, BUDGET), 1);
});
