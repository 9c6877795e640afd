/** When costs are looked at. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { Governing } from '../../src/session/governing.js';
import type { ProbedModule } from '../../src/session/probed-module.js';
import type { Notice } from '../../src/sinks/sink.js';

/** What is waited for at most until governing rests, in ms. */
const SOON_MS = 5_000;
const BUSY_CALLS = 1_000_000;

/** In ns. */
const COSTS = { kernelProbeNs: 500, enterNs: 100, leaveNs: 100, countNs: 50, spanNs: 200 };
/** It can be seen whole, or not at all. */
const BUSY = { name: 'busy', entry: { inKernel: true }, returns: [], single: true };

/** One function of one process, and a session that says what was called. */
class Scene {
  looks = 0;
  withdrawn = 0;
  waiting: (() => void) | null = null;
  readonly notices: Notice[] = [];
  /** The kernel's scheduler is watched. */
  isWatched = false;
  private calls = 0;
  private activities = 0;
  readonly governing: Governing;

  constructor() {
    const rule = { maxOverhead: 0.05, options: {}, request: { costs: COSTS } };
    const probed = {
      rule,
      exe: '/bin/true',
      role: { kind: 'kernel' },
      pids: new Set([1]),
      attachment: {
        firstFunction: 1,
        plan: { functions: [BUSY], support: [] },
        has: (index: number) => index === 1,
        thin: () => undefined,
        count: () => Promise.resolve(),
        withdraw: () => Promise.resolve(void this.withdrawn++),
        restore: () => Promise.resolve(),
      },
    };
    this.governing = new Governing({
      hostBudget: Infinity,
      session: {
        activity: () => {
          this.looks++;
          return this.activities;
        },
        onceActive: (since, tell) => {
          assert.equal(since, this.activities);
          if (!this.isWatched) this.waiting = tell;
          return !this.isWatched;
        },
        calls: () => Float64Array.of(0, this.calls),
        watchHits: () => 0,
        scheduleHits: () => ({ hits: 0, priceNs: 0 }),
        recentHits: () => new Map(),
        targets: { sampleHits: () => undefined, watchAnew: () => undefined },
      },
      modules: { all: new Set([probed as unknown as ProbedModule]) },
      hot: { add: () => undefined },
      followed: { suspend: () => Promise.resolve(), resume: () => Promise.resolve() },
      onNotice: (notice) => this.notices.push(notice),
    });
  }

  call(count: number): void {
    this.calls += count;
    this.activities++;
  }

  /** As the session does when the flag is found to be set. */
  tell(): void {
    const { waiting } = this;
    this.waiting = null;
    waiting?.();
  }

  looksWithin(ms: number): number {
    const before = this.looks;
    pass(ms);
    return this.looks - before;
  }
}

let now: number;
let scene: Scene;

function pass(ms: number): void {
  for (let passed = 0; passed < ms; passed++) {
    now++;
    mock.timers.tick(1);
  }
}

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout'] });
  now = 1_000;
  mock.method(performance, 'now', () => now);
  scene = new Scene();
  scene.governing.start();
});
afterEach(() => {
  scene.governing.stop();
  mock.timers.reset();
  mock.restoreAll();
});

test('at rest it waits to be told, and is not woken before', () => {
  scene.call(1);
  pass(SOON_MS);
  assert.ok(scene.waiting);
  assert.equal(scene.looksWithin(60_000), 0);
});

test('what is called after a long rest is looked at once, and as if it were called just now', () => {
  pass(SOON_MS + 3_600_000);
  scene.call(BUSY_CALLS);
  scene.tell();
  pass(2);
  assert.equal(scene.withdrawn, 1);
  assert.deepEqual(
    scene.notices.map(({ code }) => code),
    ['OVER_BUDGET'],
  );
});

test('a wake-up for nothing ends in rest', () => {
  pass(SOON_MS);
  scene.tell();
  pass(2);
  assert.ok(scene.waiting);
  assert.equal(scene.looksWithin(60_000), 0);
});

test('new probes end the rest for a while', () => {
  pass(SOON_MS);
  scene.governing.wake();
  assert.ok(scene.looksWithin(1_000) > 50);
  pass(SOON_MS);
  assert.equal(scene.looksWithin(60_000), 0);
});

test('where nobody tells it goes on looking', () => {
  scene.isWatched = true;
  pass(SOON_MS);
  assert.equal(scene.looksWithin(10_000), 50);
});

test('once it has stopped nothing wakes it', () => {
  pass(SOON_MS);
  scene.governing.stop();
  scene.call(1);
  scene.tell();
  assert.equal(scene.looksWithin(10_000), 0);
});
