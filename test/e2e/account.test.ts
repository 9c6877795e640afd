/**
 * Where the time went of 10,000 calls that do a bit of everything, against what the kernel and Go's
 * runtime say of the same process.
 */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { requireBpf } from '../tools/require.js';
import type { JsonSpan } from '../tools/tracer.js';
import { timesOf } from '../tools/waits.js';
import { traceWaits } from '../tools/waits-target.js';

const CALLS = 10_000;
const FUNCTIONS = ['main.task', 'main.pinned', 'main.relay', 'main.serve'];
/** The runtime's histogram has every eighth turn of a goroutine. */
const PERIOD = 8;
/** getrusage does not know yet what a thread has used since the last tick: one thread, two CPUs. */
const TICK_NS = 10e6;

/** test/targets/waits/account.go has what they mean. */
interface Account {
  calls: number;
  pinned: number;
  wall: number;
  pinnedWall: number;
  cpu: number;
  pinnedCpu: number;
  delayed: number;
  user: number;
  latencies: [low: number, high: number, count: number][];
}

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);
const seconds = (ns: number): string => `${(ns / 1e9).toFixed(3)} s`;
const share = (part: number, of: number): string => `${((100 * part) / of).toFixed(1)} %`;

function checkSums(t: TestContext, spans: readonly JsonSpan[], wall: number): void {
  for (const span of spans) {
    assert.equal(sum(Object.values(timesOf([span]))), span.durationNano, span.name);
  }
  const lasted = sum(spans.map(({ durationNano }) => durationNano));
  const told = `spans of ${seconds(lasted)}, ${share(lasted, wall)} of ${seconds(wall)}`;
  t.diagnostic(told);
  assert.ok(lasted <= wall, told);
  // The probes' own time is not in spans, nor what else ran when a goroutine lost its processor there.
  assert.ok(lasted > 0.9 * wall, told);
}

/** `least`: of what is no running the scheduler, the collector and the probes have most. */
function checkRunning(
  t: TestContext,
  spans: readonly JsonSpan[],
  cpu: number,
  { least, threads }: { least: number; threads: number },
): void {
  const { running = 0, gc_assist: assisted = 0 } = timesOf(spans);
  const told = `running ${seconds(running)}, assists ${seconds(assisted)}: ${share(running + assisted, cpu)} of ${seconds(cpu)} of CPU time`;
  t.diagnostic(told);
  assert.ok(running <= 1.01 * cpu + TICK_NS * threads, told);
  assert.ok(running + assisted >= least * cpu, told);
}

function checkRunnable(
  t: TestContext,
  spans: readonly JsonSpan[],
  { latencies, delayed }: Account,
): void {
  const ours = timesOf(spans)['runnable'] ?? 0;
  const low = PERIOD * 1e9 * sum(latencies.map(([from, , count]) => from * count));
  const high = PERIOD * 1e9 * sum(latencies.map(([, to, count]) => to * count));
  // Of a sum that is estimated from one in so many: each value's square times those left out.
  const squares = sum(latencies.map(([, to, count]) => count * (to * 1e9) ** 2));
  const error = Math.sqrt(PERIOD * (PERIOD - 1) * squares);
  const told = `runnable ${seconds(ours)}; the runtime's histogram has ${seconds(low)} to ${seconds(high)}, with a standard error of ${seconds(error)}; threads were delayed for ${seconds(delayed)}`;
  t.diagnostic(told);
  assert.ok(ours >= low - 4 * error, told);
  // That a thread has no CPU is nothing that Go's scheduler knows of.
  assert.ok(ours <= high + 4 * error + delayed, told);
}

for (const release of ['1.18.10', '1.27.3']) {
  test(`Go ${release}`, async (t) => {
    if (!requireBpf(t)) return;
    const traced = await traceWaits<Account>(t, release, ['account', CALLS], FUNCTIONS);
    if (!traced) return;
    const { report: account, tracer, named } = traced;
    assert.equal(account.calls, CALLS);
    assert.equal(named('main.task').length, CALLS);
    assert.equal(named('main.pinned').length, account.pinned);

    await t.test('parts add up to the wall time', (t) => {
      checkSums(t, named('main.task'), account.wall);
      checkSums(t, named('main.pinned'), account.pinnedWall);
    });
    await t.test('running is CPU time of the process', (t) => {
      checkRunning(t, tracer.spans, account.cpu, { least: 0.8, threads: 2 });
    });
    await t.test('running is CPU time of the thread', (t) => {
      checkRunning(t, named('main.pinned'), account.pinnedCpu, { least: 0.8, threads: 1 });
    });
    await t.test("running is no more than the runtime's own processors had", (t) => {
      // Since Go 1.20.
      if (account.user === 0) return;
      const { running = 0 } = timesOf(tracer.spans);
      const told = `running ${seconds(running)}, processors were in use for ${account.user.toFixed(3)} s`;
      t.diagnostic(told);
      assert.ok(running <= 1.01 * account.user * 1e9, told);
    });
    await t.test("runnable is the runtime's latency", (t) => {
      checkRunnable(t, tracer.spans, account);
    });
  });
}
