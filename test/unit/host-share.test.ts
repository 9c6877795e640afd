/** What rules may spend where their budgets add up to more than the host may bear. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { HostShare } from '../../src/session/host-share.js';

const STEP = 0.05;
const HOST = 0.2e9;

/** Rules that spend what they want, within their share of what they may. */
function run(host: HostShare, seconds: number, rules: { wanted: number; budget: number }[]) {
  let share = 1;
  let spent = 0;
  for (let at = 0; at < seconds; at += STEP) {
    const rate = rules.reduce((sum, each) => sum + Math.min(each.wanted, each.budget * share), 0);
    spent = rate;
    share = host.step(STEP, rate);
  }
  return { share, spent };
}

describe('the share of the host', () => {
  test('is all where budgets fit, or nobody spends them', () => {
    const idle = Array.from({ length: 100 }, () => ({ wanted: 1e5, budget: 0.05e9 }));
    assert.equal(run(new HostShare(HOST), 60, idle).share, 1);
    assert.equal(run(new HostShare(Infinity), 60, [{ wanted: 1e12, budget: 1e12 }]).share, 1);
  });

  test('keeps all together within what the host may bear, and leaves the small alone', () => {
    const busy = Array.from({ length: 10 }, () => ({ wanted: 0.05e9, budget: 0.05e9 }));
    const small = { wanted: 0.001e9, budget: 0.05e9 };
    const { share, spent } = run(new HostShare(HOST), 60, [...busy, small]);
    assert.ok(spent <= HOST * 1.05 && spent >= HOST * 0.75, `${spent}`);
    assert.ok(small.budget * share > small.wanted);
  });

  test('grows back when there is room again', () => {
    const host = new HostShare(HOST);
    const busy = { wanted: 1e9, budget: 1e9 };
    assert.ok(run(host, 30, [busy]).share < 0.3);
    busy.wanted = 1e6;
    assert.equal(run(host, 60, [busy]).share, 1);
  });
});
