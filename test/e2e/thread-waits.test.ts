/** What threads wait for, as the kernel's scheduler says it, against the program's own account. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { inFolder } from '../tools/folder.js';
import { projectRoot } from '../tools/go.js';
import { compileNative } from '../tools/native-targets.js';
import { requireBpf, requireCommands } from '../tools/require.js';
import { type JsonSpan, Tracer } from '../tools/tracer.js';
import { timesOf, waitedOf } from '../tools/waits.js';

const ROUNDS = 20;
const CALLS = 10_000;

/** By function: calls, wall and CPU time in ns, and how often it was preempted. */
type Counted = Record<string, [calls: number, wall: number, cpu: number, preempted: number]>;

const TRACED = [
  ...['locker', 'holder', 'waiter', 'notifier', 'sleeper', 'syncer', 'receiver', 'piper'],
  ...['faulter', 'runner', 'outer', 'inner'],
];

/** What each waits for most, of what is no processor. */
const REASONS = {
  locker: 'futex',
  waiter: 'futex',
  sleeper: 'sleep',
  inner: 'sleep',
  syncer: 'io',
  receiver: 'network',
  piper: 'system_call',
  faulter: 'page_fault',
};

test('what threads wait for, and who lets them go on', async (t) => {
  if (!requireBpf(t)) return;
  if (!requireCommands(t, ['gcc'])) return;
  // Not in memory alone, as /tmp may be.
  await inFolder(
    async (folder) => {
      const program = await compileNative('gcc', 'waits.c', join(folder, 'waits'), ['-O1']);
      const file = join(folder, 'counted.json');
      const symbols = TRACED.flatMap((name) => ['--symbol', name]);
      const tracer = Tracer.start([
        ...['--waits', ...symbols, '--'],
        ...[program, String(ROUNDS), String(CALLS), file, folder],
      ]);
      assert.equal(await tracer.ended(), 0, tracer.stderr);
      const counted = JSON.parse(await readFile(file, 'utf8')) as Counted;
      const of = (wanted: string): JsonSpan[] =>
        tracer.spans.filter(({ name }) => name === wanted);

      await t.test('no call waits longer than it takes', () => {
        for (const span of tracer.spans) {
          const waited = waitedOf(span);
          assert.ok(waited <= span.durationNano * 1.01, `${span.name}: ${waited} ns`);
        }
      });
      await t.test('as long as the thread had no processor', () => {
        for (const [name, [calls, wall, cpu]] of Object.entries(counted)) {
          if (!TRACED.includes(name)) continue;
          assert.equal(of(name).length, calls, name);
          const waited = of(name).reduce((sum, span) => sum + waitedOf(span), 0);
          const lacked = wall - cpu;
          const error = Math.abs(waited - lacked) / wall;
          t.diagnostic(`${name}: ${waited} ns waited, ${lacked} ns without a processor`);
          assert.ok(error < 0.02, `${name}: ${waited} ns waited, ${lacked} without a processor`);
        }
      });
      await t.test('for what', () => {
        for (const [name, reason] of Object.entries(REASONS)) {
          const { runnable: _runnable, running: _running, ...blocked } = timesOf(of(name));
          const most = Object.entries(blocked).sort(([, a], [, b]) => b - a)[0]?.[0];
          assert.equal(most, reason, `${name}: ${JSON.stringify(timesOf(of(name)))}`);
        }
        const { runnable = 0, running = 0, ...blocked } = timesOf(of('runner'));
        assert.ok(runnable > 0.2 * running, `runnable ${runnable}, running ${running}`);
        assert.deepEqual(blocked, {});
      });
      await t.test('who held the lock, and who signalled', () => {
        const wakers = (name: string): unknown[] =>
          of(name)
            .flatMap(({ events = [] }) => events)
            .filter(({ attributes }) => attributes['underspan.wait.reason'] === 'futex')
            .map(({ attributes }) => attributes['underspan.wait.by.function']);
        for (const [name, by] of [
          ['locker', 'holder'],
          ['waiter', 'notifier'],
        ] as const) {
          assert.ok(wakers(name).length > ROUNDS / 2, name);
          assert.deepEqual([...new Set(wakers(name))], [by]);
        }
        const [event] = of('locker').flatMap(({ events = [] }) => events);
        assert.equal(event?.attributes['underspan.wait.by.thread'], counted['holder']);
        assert.equal(event?.attributes['underspan.wait.by.goroutine'], undefined);
      });
    },
    join(projectRoot, '.cache'),
  );
});
