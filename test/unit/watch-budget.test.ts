/** When it is looked at what calls wait for, on a clock of its own. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WatchBudget } from '../../src/session/watch-budget.js';

const STEP = 0.01;
/** Nanoseconds a second. */
const ALLOWED = 25e6;

interface Run {
  /** Of the time. */
  looked: number;
  spent: number;
  looks: number[];
  pauses: number[];
}

/** `rate`: what it costs a second while it is looked at. */
function run(budget: WatchBudget, seconds: number, rate: (second: number) => number): Run {
  const found: Run = { looked: 0, spent: 0, looks: [], pauses: [] };
  let since = 0;
  for (let now = 0; now < seconds; now += STEP) {
    const spent = budget.isAway ? 0 : rate(now) * STEP;
    if (!budget.isAway) found.looked += STEP / seconds;
    found.spent += spent;
    const action = budget.step(STEP, spent, ALLOWED);
    if (!action) continue;
    (action === 'stop' ? found.looks : found.pauses).push(now - since);
    since = now;
  }
  return found;
}

test('what is allowed may be spent all the time', () => {
  const budget = new WatchBudget();
  const { looked, looks } = run(budget, 60, () => ALLOWED * 0.96);
  assert.deepEqual(looks, []);
  assert.ok(Math.abs(looked - 1) < 1e-3);
  assert.equal(budget.isAway, false);
});

test('a moment of much is borne', () => {
  const rate = (now: number): number => (now % 1 >= 0.5 && now % 1 < 0.53 ? ALLOWED * 20 : 0);
  assert.deepEqual(run(new WatchBudget(), 60, rate).looks, []);
});

for (const times of [1.4, 4, 20, 80]) {
  test(`what costs ${times} times as much is looked at for as long as is paid for`, () => {
    const { looked, spent, looks, pauses } = run(new WatchBudget(), 600, () => ALLOWED * times);
    assert.ok(looks.length > 5 && pauses.length > 5);
    const share = spent / (ALLOWED * 600);
    assert.ok(share > 0.8 && share <= 1.1, `${share}`);
    assert.ok(Math.abs(looked - share / times) < 0.01);
    // Long enough to see whole calls.
    for (const look of looks.slice(1)) assert.ok(look >= 0.28, `${look}`);
  });
}

test('there is a look at what is far too dear, too', () => {
  const { looks, pauses } = run(new WatchBudget(), 600, () => ALLOWED * 2_000);
  assert.ok(looks.length > 5 && pauses.every((pause) => pause <= 60.1));
});

test('what it cost is no reason to take back everything, for a while', () => {
  const budget = new WatchBudget();
  assert.equal(budget.isSettling, false);
  run(budget, 0.1, () => ALLOWED * 200);
  assert.ok(budget.isAway && budget.isSettling);
  run(budget, 3, () => ALLOWED * 200);
  assert.ok(budget.isAway && !budget.isSettling);
});

test('calls come first, but for a tenth', () => {
  assert.equal(WatchBudget.allowed(100, 0), 50);
  assert.equal(WatchBudget.allowed(100, 60), 25);
  assert.equal(WatchBudget.allowed(100, 200), 10);
});
