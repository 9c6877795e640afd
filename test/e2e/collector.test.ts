/** What Go's garbage collector is told to do, against the program's own runtime/metrics. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { BUILDS, type GcReport, numberOf, sum, traceGc } from '../tools/gc-target.js';
import { requireBpf } from '../tools/require.js';
import type { JsonSpan } from '../tools/tracer.js';

/** The first that counts a pause where it can be seen what it is counted as. */
const COUNTS = 20;

for (const of of BUILDS) {
  const [release, { name }] = of;
  const minor = Number(release.split('.')[1]);
  test(`cycles and pauses of Go ${release}, ${name}`, async (t) => {
    if (!requireBpf(t)) return;
    const traced = await traceGc(
      t,
      of,
      ['collect', '20'],
      ['--gc', 'main.request', 'main.collect'],
    );
    if (!traced) return;
    const { report, named } = traced;
    const cycles = named('runtime.gc');
    const pauses = named('runtime.gc.pause');
    assert.equal(cycles.length, report.cycles);
    assert.equal(pauses.length, report.pauses);
    assert.equal(named('runtime.gc.mark').length, report.cycles);

    const paused = cycles.map((cycle) => numberOf(cycle, 'underspan.gc.paused'));
    if (minor >= COUNTS) {
      assert.deepEqual(paused.toReversed().slice(0, report.pauseNs.length), report.pauseNs);
      assert.equal(sum(pauses.map(({ durationNano }) => durationNano)), report.pauseTotalNs);
    } else {
      // The probes' own time is in it.
      for (const [index, ns] of report.pauseNs.entries()) {
        assert.ok((paused.at(-1 - index) ?? 0) >= ns, `cycle ${index} from the last`);
      }
    }
    checkHistogram(t, pauses, report, minor >= COUNTS);
    const last = cycles.at(-1);
    assert.ok(last);
    assert.equal(last.attributes['underspan.gc.heap.goal'], report.nextGC);
    if (report.live > 0) assert.equal(last.attributes['underspan.gc.heap.live'], report.live);
    else assert.ok(numberOf(last, 'underspan.gc.heap.live') > 0);
    checkTraces(cycles, [...pauses, ...named('runtime.gc.mark')]);
    checkOverlaps([...named('main.request'), ...named('main.collect')], pauses);
  });
}

/** Bucket by bucket, or where our own time is in them that none is shorter than the runtime says. */
function checkHistogram(
  t: TestContext,
  pauses: readonly JsonSpan[],
  { buckets }: GcReport,
  exact: boolean,
): void {
  const ours = pauses.map(({ durationNano }) => durationNano).sort((a, b) => a - b);
  if (exact) {
    const counts = buckets.map(([from, to]) => ours.filter((ns) => ns >= from && ns < to).length);
    t.diagnostic(`${ours.length} pauses in ${counts.length} buckets of the runtime's histogram`);
    assert.deepEqual(
      counts,
      buckets.map(([, , count]) => count),
    );
    return;
  }
  const least = buckets.flatMap(([from, , count]) => Array<number>(count).fill(from));
  for (const [index, from] of least.entries()) assert.ok((ours[index] ?? 0) >= from);
}

/** A cycle is a trace, and what it is made of lies in it. */
function checkTraces(cycles: readonly JsonSpan[], parts: readonly JsonSpan[]): void {
  const byTrace = new Map(cycles.map((cycle) => [cycle.traceId, cycle]));
  assert.equal(byTrace.size, cycles.length);
  for (const part of parts) {
    const cycle = byTrace.get(part.traceId);
    assert.ok(cycle);
    assert.equal(part.parentSpanId, cycle.spanId);
    assert.ok(BigInt(part.startTimeUnixNano) >= BigInt(cycle.startTimeUnixNano));
    assert.ok(BigInt(part.endTimeUnixNano) <= BigInt(cycle.endTimeUnixNano));
  }
}

/** Of all but those that began or ended within a few instructions of a pause. */
function checkOverlaps(calls: readonly JsonSpan[], pauses: readonly JsonSpan[]): void {
  const from = calls.reduce(
    (a, { startTimeUnixNano: b }) => (BigInt(b) < a ? BigInt(b) : a),
    1n << 63n,
  );
  const time = (text: string): number => Number(BigInt(text) - from);
  const known = pauses.map((pause) => [time(pause.startTimeUnixNano), time(pause.endTimeUnixNano)]);
  let wrong = 0;
  let overlapped = 0;
  for (const call of calls) {
    const [start, end] = [time(call.startTimeUnixNano), time(call.endTimeUnixNano)];
    const expected = sum(
      known.map(([a = 0, b = 0]) => Math.max(0, Math.min(end, b) - Math.max(start, a))),
    );
    if (expected > 0) overlapped++;
    // Clocks are compared anew now and then.
    if (Math.abs(numberOf(call, 'underspan.time.gc_pause') - expected) > 1_000) wrong++;
  }
  assert.ok(overlapped > 20, `${overlapped} calls overlapped a pause`);
  assert.ok(wrong <= overlapped / 20, `${wrong} of ${overlapped} are wrong`);
}

for (const of of BUILDS.filter(([, { flags }]) => flags.length === 0)) {
  const [release] = of;
  test(`who allocates helps to mark, Go ${release}`, async (t) => {
    if (!requireBpf(t)) return;
    const traced = await traceGc(t, of, ['assist', '2'], ['--waits', 'main.churn']);
    if (!traced) return;
    const calls = traced.named('main.churn');
    assert.equal(calls.length, 4);
    for (const { attributes, durationNano } of calls) {
      const times = Object.entries(attributes).filter(([key]) => key.startsWith('underspan.time.'));
      const parts = sum(times.map(([, ns]) => Number(ns)));
      assert.ok(
        Math.abs(parts - durationNano) <= durationNano / 100,
        `${parts} of ${durationNano}`,
      );
      assert.ok(Number(attributes['underspan.time.running']) > 0);
    }
    const assisted = sum(calls.map((call) => numberOf(call, 'underspan.time.gc_assist'))) / 1e9;
    assert.ok(assisted > 0);
    // Ours holds also what they wait for the collector, and not what main helped before.
    const { assistSeconds } = traced.report;
    assert.ok(assisted > assistSeconds / 2, `${assisted} s of ${assistSeconds} s`);
  });
}
