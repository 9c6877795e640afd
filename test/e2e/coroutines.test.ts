/** Coroutines (iter.Pull), which go on and end past Go's scheduler. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { requireBpf } from '../tools/require.js';
import { mainReason, timesOf } from '../tools/waits.js';
import { traceWaits } from '../tools/waits-target.js';

const ROUNDS = 12;
const WAIT_NS = 3e6;

type Counted = Record<string, { nano: number }>;

// The first that has them.
for (const release of ['1.23.4', '1.27.3']) {
  test(`Go ${release}`, async (t) => {
    if (!requireBpf(t)) return;
    const functions = ['main.puller', 'main.producer', 'main.successor'];
    const traced = await traceWaits<Counted>(t, release, ['coroutines', ROUNDS], functions);
    if (!traced) return;
    const { report: counted, named } = traced;

    await t.test('who asks a coroutine waits while it does', () => {
      const calls = named('main.puller');
      assert.equal(calls.length, ROUNDS);
      const times = timesOf(calls);
      assert.equal(mainReason(calls), 'other');
      const { other = 0 } = times;
      assert.ok(other >= 0.9 * ROUNDS * WAIT_NS, `${other} ns`);
      assert.ok(other <= (counted['main.puller']?.nano ?? 0), `${other} ns`);
    });
    await t.test('a coroutine waits until it is asked', () => {
      const [first] = named('main.producer').sort((a, b) => b.durationNano - a.durationNano);
      assert.ok(first);
      const { other = 0, sleep = 0 } = timesOf([first]);
      assert.ok(sleep >= ROUNDS * WAIT_NS, `${sleep} ns asleep`);
      assert.ok(other >= 0.9 * (ROUNDS - 1) * WAIT_NS, `${other} ns`);
    });
    await t.test('what becomes of its goroutine is another one', () => {
      const idsOf = (name: string): unknown[] =>
        named(name).map(({ attributes }) => attributes['underspan.goroutine.id']);
      const ended = new Set(idsOf('main.producer'));
      const begun = idsOf('main.successor');
      assert.equal(begun.length, ROUNDS);
      assert.equal(new Set(begun).size, ROUNDS);
      assert.deepEqual(
        begun.filter((id) => ended.has(id)),
        [],
      );
    });
  });
}
