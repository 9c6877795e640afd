/** What calls wait for, and by whose doing, against Go's own block and mutex profile of the same run. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { contentionOf } from '../tools/go-profile.js';
import { requireBpf } from '../tools/require.js';
import type { JsonSpan } from '../tools/tracer.js';
import { timesOf } from '../tools/waits.js';
import { traceWaits } from '../tools/waits-target.js';

const ROUNDS = 60;
/** Of a time that both measure: the profile's is in cycles, whose rate the runtime has measured. */
const CLOCKS = 0.01;
/** The thread may lose its CPU between the runtime's look at the clock and ours; seldom. */
const LOST_NS = 20e6;
/** What is longer is told as an event. */
const TOLD_NS = 1e6;

interface Profiles {
  block: string;
  mutex: string;
}

/** One goroutine at a time waits. The oldest calls all that locks are made of semaphores. */
const WAITERS = (old: boolean): Record<string, string> => ({
  'main.locker': old ? 'semaphore' : 'mutex',
  'main.receiver': 'channel_receive',
  'main.sender': 'channel_send',
  'main.selector': 'select',
  'main.waiter': old ? 'semaphore' : 'condition',
});

const ms = (ns: number): string => `${(ns / 1e6).toFixed(2)} ms`;

function assertSame(
  t: TestContext,
  what: string,
  ours: number,
  { ns, count }: { ns: number; count: number },
  error = 0,
): void {
  const told = `${what}: ${ms(ours)}, profile ${ms(ns)} in ${count} (${(100 * (ours / ns - 1)).toFixed(2)} %)`;
  t.diagnostic(told);
  assert.ok(count > ROUNDS / 2, told);
  assert.ok(Math.abs(ours - ns) <= CLOCKS * ns + LOST_NS + error, told);
}

/** How long others waited until calls of the function let them go on, where that is told. */
function causedBy(spans: readonly JsonSpan[], name: string): { ns: number; count: number } {
  const caused = spans
    .flatMap(({ events = [] }) => events)
    .filter(({ attributes }) => attributes['underspan.wait.by.function'] === name)
    .map(
      ({ attributes }) =>
        Number(attributes['underspan.wait.duration']) -
        Number(attributes['underspan.wait.runnable'] ?? 0),
    );
  return { ns: caused.reduce((a, b) => a + b, 0), count: caused.length };
}

for (const release of ['1.18.10', '1.27.3']) {
  test(`Go ${release}`, async (t) => {
    if (!requireBpf(t)) return;
    const waiters = WAITERS(release.startsWith('1.18.'));
    const functions = [...Object.keys(waiters), 'main.holder', 'main.crowd'];
    const traced = await traceWaits<Profiles>(t, release, ['profile', ROUNDS], functions);
    if (!traced) return;
    const { block, mutex } = traced.report;
    const { named } = traced;

    await t.test('who waits, as the block profile has it', (t) => {
      for (const [name, reason] of Object.entries(waiters)) {
        assertSame(t, name, timesOf(named(name))[reason] ?? 0, contentionOf(block, name));
      }
    });
    await t.test('who is waited for, as the mutex profile has it', (t) => {
      const caused = causedBy(named('main.locker'), 'main.holder');
      const theirs = contentionOf(mutex, 'main.holder');
      const untold = Math.max(0, theirs.count - caused.count) * TOLD_NS;
      assertSame(t, 'main.holder', caused.ns, theirs, untold);
    });
    await t.test('of a crowd', (t) => {
      const { runnable = 0, ...times } = timesOf(named('main.crowd'));
      const waited = times[waiters['main.locker'] ?? ''] ?? 0;
      const { ns, count } = contentionOf(block, 'main.crowd');
      const told = `main.crowd: ${ms(waited)} and runnable ${ms(runnable)}, profile ${ms(ns)} in ${count} (${(100 * (waited / ns - 1)).toFixed(2)} %)`;
      t.diagnostic(told);
      assert.ok(count > ROUNDS, told);
      assert.ok(waited <= ns * (1 + CLOCKS) + LOST_NS, told);
      // Who is woken, and finds the semaphore taken, waits on: for the profile without a break.
      assert.ok(ns <= (waited + runnable) * (1 + CLOCKS) + LOST_NS, told);
    });
  });
}
