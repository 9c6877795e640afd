/** What is said of functions that cost too much, and how often. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BudgetNotices } from '../../src/session/budget-notices.js';
import type { ProbedModule } from '../../src/session/probed-module.js';
import type { TraceRule } from '../../src/session/rule.js';

const RULE = { maxOverhead: 0.05 } as TraceRule;
const MODULES = [
  {
    attachment: {
      firstFunction: 10,
      has: (index: number) => index >= 10,
      plan: { functions: Array.from({ length: 90 }, (_, index) => ({ name: `f${index + 10}` })) },
    },
  },
] as unknown as ProbedModule[];

function heard(): { notices: BudgetNotices; said: string[] } {
  const said: string[] = [];
  const notices = new BudgetNotices(RULE, ({ message }) => said.push(message));
  return { notices, said };
}

const count = (notices: BudgetNotices, functions: number[], share = 0.1): void =>
  notices.overBudget({ do: 'count', functions, share }, MODULES);
const withdraw = (notices: BudgetNotices, functions: number[], share = 0.1): void =>
  notices.overBudget({ do: 'withdraw', functions, share }, MODULES);

describe('notices of functions that are too dear', () => {
  test('come at once, and what follows soon after together', () => {
    const { notices, said } = heard();
    count(notices, [10, 11, 12, 13, 14], 0.31);
    notices.pass(0.01);
    assert.equal(said.length, 1);
    assert.match(said[0] ?? '', /^tracing f10, f11, f12 and 2 more costs 31 % of a CPU.*counted/);
    for (let index = 20; index < 60; index++) {
      count(notices, [index], 0.01);
      notices.pass(0.2);
    }
    assert.equal(said.length, 1);
    assert.ok(notices.hasUntold);
    notices.pass(2.1);
    assert.equal(said.length, 2);
    assert.match(said[1] ?? '', /^tracing f20, f21, f22 and 37 more costs 40 % of a CPU/);
    assert.ok(!notices.hasUntold);
    notices.pass(60);
    assert.equal(said.length, 2);
  });

  test('are of each function once, or twice where it gets worse', () => {
    const { notices, said } = heard();
    count(notices, [10]);
    notices.pass(0.01);
    count(notices, [10]);
    notices.pass(20);
    assert.equal(said.length, 1);
    withdraw(notices, [10]);
    notices.pass(20);
    withdraw(notices, [10]);
    notices.pass(20);
    assert.equal(said.length, 2);
    assert.match(said[1] ?? '', /^tracing f10 costs .* none makes a span/);
  });

  test('say only the worse where both come together', () => {
    const { notices, said } = heard();
    count(notices, [10, 11]);
    withdraw(notices, [10]);
    notices.pass(0.01);
    assert.equal(said.length, 2);
    assert.match(said[0] ?? '', /^tracing f11 costs .*counted/);
    assert.match(said[1] ?? '', /^tracing f10 costs .*none makes a span/);
  });

  test('are not lost when functions go, or when there is nothing more to come', () => {
    const { notices, said } = heard();
    count(notices, [10]);
    notices.pass(0.01);
    count(notices, [11]);
    notices.forget((index) => index === 12);
    assert.equal(said.length, 1);
    notices.forget((index) => index === 11);
    assert.equal(said.length, 2);
    count(notices, [13]);
    notices.tellAll();
    assert.equal(said.length, 3);
  });
});
