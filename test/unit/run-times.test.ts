import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import type { PlannedFunction } from '../../src/plan/plan.js';
import { programCounts, programHits } from '../../src/session/program-hits.js';
import { RunTimes } from '../../src/session/run-times.js';

/** The kernel, and our own counts: runs of `enter` take what they are told to. */
class Host {
  isTiming = false;
  forEveryone = false;
  windows = 0;
  hits = 0;
  runTimeNs = 0;
  runCount = 0;

  readonly enable = (): { close(): void } => {
    this.isTiming = true;
    this.windows++;
    return { close: () => (this.isTiming = false) };
  };

  run(hits: number, ns: number, runs = hits): void {
    this.hits += hits;
    if (!this.isTiming && !this.forEveryone) return;
    this.runTimeNs += runs * ns;
    this.runCount += runs;
  }

  activity(): number {
    return this.hits;
  }

  counts() {
    const { hits, runTimeNs, runCount } = this;
    return { program: 'enter', hits, runTimeNs, runCount };
  }
}

const attachment = {};
const attach = (): Promise<void> => Promise.resolve();

function timesOf(host: Host, canEnable = true): RunTimes {
  const times = new RunTimes({
    enable: canEnable ? host.enable : null,
    areOn: () => host.forEveryone,
    read: () => [[attachment, [host.counts()]]],
    activity: () => host.activity(),
  });
  times.look();
  return times;
}

const seen = (runTimeNs: number, runCount: number, untimedHits = 0) => [
  { program: 'enter', runTimeNs, runCount, untimedHits },
];

/** By steps: a timer that is set meanwhile would else count from the end. */
function pass(ms: number): void {
  for (let passed = 0; passed < ms; passed++) mock.timers.tick(1);
}

beforeEach(() => mock.timers.enable({ apis: ['setTimeout'] }));
afterEach(() => mock.timers.reset());

test('runs are timed for a moment after programs were attached, and seldom later', async () => {
  const host = new Host();
  const times = timesOf(host);
  assert.equal(host.isTiming, false);
  await times.whileAttaching(attachment, attach);
  assert.equal(host.isTiming, true);
  host.run(10, 200);
  pass(99);
  assert.equal(host.isTiming, true);
  pass(1);
  assert.equal(host.isTiming, false);
  host.run(1, 200);
  pass(4_999);
  assert.equal(host.isTiming, false);
  pass(1);
  assert.equal(host.isTiming, true);
  pass(50);
  assert.equal(host.isTiming, false);
  // A process more is no reason to time anything.
  await times.whileAttaching(attachment, attach);
  assert.equal(host.isTiming, false);
  assert.equal(host.windows, 2);
  times.close();
});

test('where nothing is hit nothing is timed', async () => {
  const host = new Host();
  const times = timesOf(host);
  await times.whileAttaching(attachment, attach);
  host.run(10, 200);
  pass(30_000);
  assert.equal(host.windows, 1);
  host.run(1, 200);
  pass(5_000);
  assert.equal(host.windows, 2);
  times.close();
});

test('hits that were not timed take what those took that were', async () => {
  const host = new Host();
  const times = timesOf(host);
  await times.whileAttaching(attachment, attach);
  host.run(10, 200);
  pass(100);
  host.run(1_000, 200);
  times.look();
  assert.deepEqual(times.of(attachment), seen(1_010 * 200, 1_010));
  // Runs for others that have the same file are in the bill.
  pass(5_000);
  host.run(30, 100, 60);
  pass(50);
  host.run(35, 100, 70);
  times.look();
  // Half of the weight of the 10 hits, and all of the 30.
  const perHit = (5 * 200 + 60 * 100) / 35;
  assert.deepEqual(times.of(attachment), seen(202_000 + 6_000 + 35 * perHit, 1_010 + 60 + 65));
  times.close();
});

test('what was hit before anything was timed is made good later', async () => {
  const host = new Host();
  const times = timesOf(host);
  host.run(5, 200);
  times.look();
  assert.deepEqual(times.of(attachment), seen(0, 0, 5));
  await times.whileAttaching(attachment, attach);
  host.run(1, 200);
  times.look();
  assert.deepEqual(times.of(attachment), seen(1_200, 6));
  times.close();
});

test('the first moment lasts until something has run, but not for long', async () => {
  const host = new Host();
  const times = timesOf(host);
  await times.whileAttaching(attachment, attach);
  pass(500);
  assert.equal(host.isTiming, true);
  host.run(1, 200);
  pass(100);
  assert.equal(host.isTiming, false);
  times.close();

  const idle = new Host();
  const idleTimes = timesOf(idle);
  await idleTimes.whileAttaching(attachment, attach);
  pass(2_000);
  assert.equal(idle.isTiming, true);
  pass(100);
  assert.equal(idle.isTiming, false);
  idleTimes.close();
});

test('a session that is shorter than a moment is timed as a whole', async () => {
  const host = new Host();
  const times = timesOf(host);
  await times.whileAttaching(attachment, () => Promise.resolve(host.run(3, 250)));
  host.run(1, 450);
  times.close();
  assert.equal(host.isTiming, false);
  assert.deepEqual(times.of(attachment), seen(1_200, 4));
  pass(10_000);
  assert.equal(host.windows, 1);
});

test('where the kernel times runs for everyone it is not asked to', async () => {
  const host = new Host();
  host.forEveryone = true;
  for (const canEnable of [true, false]) {
    const times = timesOf(host, canEnable);
    await times.whileAttaching(attachment, attach);
    assert.equal(times.canBeKnown, true);
    host.run(7, 100);
    pass(3_000);
    host.run(3, 300);
    times.look();
    assert.deepEqual(times.of(attachment), seen(1_600, 10));
    times.close();
  }
  assert.equal(host.windows, 0);
});

test('where nobody times runs nothing is known', async () => {
  const host = new Host();
  const times = timesOf(host, false);
  await times.whileAttaching(attachment, attach);
  host.run(7, 100);
  times.look();
  assert.equal(times.canBeKnown, false);
  assert.deepEqual(times.of(attachment), seen(0, 0, 7));
  times.close();
});

test('what is removed goes on to count', async () => {
  const host = new Host();
  const times = timesOf(host);
  await times.whileAttaching(attachment, attach);
  host.run(2, 100);
  times.forget(attachment);
  assert.deepEqual(times.of(attachment), []);
  assert.deepEqual(times.ofGone, seen(200, 2));
  times.close();
});

test('nothing is lost where the kernel cannot be asked for the moment', async () => {
  const host = new Host();
  let fails = true;
  const times = new RunTimes({
    enable: () => {
      if (fails) throw new Error('too many open files');
      return host.enable();
    },
    areOn: () => false,
    read: () => [[attachment, [host.counts()]]],
    activity: () => host.activity(),
  });
  times.look();
  await times.whileAttaching(attachment, attach);
  host.run(3, 100);
  fails = false;
  pass(2_100);
  host.run(1, 100);
  pass(5_000);
  assert.equal(host.isTiming, true);
  host.run(1, 100);
  pass(50);
  assert.deepEqual(times.of(attachment), seen(500, 5));
  times.close();
});

test('hits by program: trampolines have one for both ends, functions of one instruction no return', () => {
  const fn = (fields: Partial<PlannedFunction>) => ({ returns: [], ...fields }) as PlannedFunction;
  const functions = [
    fn({ returns: [{}] as PlannedFunction['returns'] }),
    fn({ trampoline: true }),
    fn({ single: true }),
  ];
  const hits = programHits(
    { plan: { functions } as never, firstFunction: 2 },
    {
      calls: Float64Array.of(9, 0, 10, 20, 30),
      returns: Float64Array.of(0, 0, 8, 19, 30),
    },
  );
  const run = (program: string, runCount: number) => ({
    ...{ program, runCount, runTimeNs: 2 * runCount, recursionMisses: 0 },
  });
  const programs = [run('enter', 1), run('enter', 2), run('leave', 3), run('around', 4)];
  assert.deepEqual(programCounts([...programs, run('support', 5)], hits), [
    { program: 'enter', hits: 40, runTimeNs: 6, runCount: 3 },
    { program: 'leave', hits: 8, runTimeNs: 6, runCount: 3 },
    { program: 'around', hits: 39, runTimeNs: 8, runCount: 4 },
    { program: 'support', hits: 9, runTimeNs: 10, runCount: 5 },
  ]);
});
