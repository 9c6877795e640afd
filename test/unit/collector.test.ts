import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Collectors, type Cycle, cycleSpans, type Pause } from '../../src/spans/collector.js';
import { GcEvent, GcPhase } from '../../src/spans/records.generated.js';

const PID = 7;

interface World {
  collectors: Collectors;
  cycles: Cycle[];
  pauses: Pause[];
  tell: (event: number, startNs: number, endNs?: number, cycleNs?: number) => void;
}

function world(): World {
  const cycles: Cycle[] = [];
  const pauses: Pause[] = [];
  const collectors = new Collectors({
    onPause: (_, pause) => pauses.push(pause),
    onCycle: (cycle) => cycles.push(cycle),
  });
  const tell: World['tell'] = (event, startNs, endNs = 0, cycleNs = 0) => {
    const phase = cycleNs > 0 ? GcPhase.MARK_TERMINATION : GcPhase.SWEEP_TERMINATION;
    const of = { tgid: PID, event, phase, startNs, endNs, cycleNs: cycleNs || null };
    collectors.add({ ...of, heapLive: 5, heapGoal: null });
  };
  return { collectors, cycles, pauses, tell };
}

test('what of a call fell into pauses', () => {
  const { collectors, tell } = world();
  tell(GcEvent.PAUSE_ENDS, 100, 200);
  tell(GcEvent.PAUSE_ENDS, 300, 350);
  const paused = (start: number, end: number): number | null =>
    collectors.pausedDuring(PID, start, end - start);
  assert.equal(paused(0, 100), 0);
  assert.equal(paused(0, 1_000), 150);
  assert.equal(paused(150, 310), 60);
  assert.equal(paused(120, 130), 10);
  assert.equal(paused(200, 300), 0);
  assert.equal(collectors.pausedDuring(8, 0, 1_000), null);
  collectors.forget(PID);
  assert.equal(paused(0, 1_000), null);
});

test('a pause that has not ended', () => {
  const { collectors, tell } = world();
  tell(GcEvent.PAUSE_BEGINS, 100);
  assert.ok(collectors.isPaused(PID));
  assert.equal(collectors.pausedDuring(PID, 50, 60), 10);
  tell(GcEvent.PAUSE_ENDS, 100, 105);
  assert.ok(!collectors.isPaused(PID));
  assert.equal(collectors.pausedDuring(PID, 50, 60), 5);
});

test('of a cycle whose beginning was not seen only the pause counts', () => {
  const { cycles, pauses, tell } = world();
  tell(GcEvent.CYCLE_ENDS, 500, 550);
  assert.equal(pauses.length, 1);
  assert.equal(cycles.length, 0);
});

test('pauses are forgotten, and then nothing is said of calls that long', () => {
  const { collectors, tell } = world();
  for (let at = 10; at <= 100_000; at += 10) tell(GcEvent.PAUSE_ENDS, at, at + 1);
  assert.equal(collectors.pausedDuring(PID, 0, 100_000), null);
  assert.equal(collectors.pausedDuring(PID, 99_990, 10), 1);
});

test('a cycle is a trace', () => {
  const { cycles, tell } = world();
  tell(GcEvent.PAUSE_ENDS, 100, 200);
  tell(GcEvent.CYCLE_ENDS, 500, 550, 100);
  const [cycle] = cycles;
  assert.ok(cycle);
  const spans = cycleSpans(cycle, 1_000n, { attributes: {} });
  assert.deepEqual(
    spans.map(({ name, startTimeUnixNano, durationNano }) => [
      name,
      startTimeUnixNano,
      durationNano,
    ]),
    [
      ['runtime.gc', 1_100n, 450],
      ['runtime.gc.mark', 1_200n, 300],
      ['runtime.gc.pause', 1_100n, 100],
      ['runtime.gc.pause', 1_500n, 50],
    ],
  );
  const [root, ...parts] = spans;
  assert.equal(root?.parentSpanId, null);
  assert.deepEqual(root?.attributes, {
    'process.pid': PID,
    'underspan.gc.paused': 150,
    'underspan.gc.heap.live': 5,
  });
  assert.ok(parts.every(({ parentSpanId }) => parentSpanId === root?.spanId));
});
