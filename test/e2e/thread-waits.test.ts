/** What threads wait for, as the kernel's scheduler says it, against the program's own account. */
import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { AgentProcess } from '../tools/agent.js';
import { inFolder } from '../tools/folder.js';
import { buildTarget, projectRoot } from '../tools/go.js';
import { compileNative } from '../tools/native-targets.js';
import { RunningProcess } from '../tools/process.js';
import { requireBpf, requireCommands } from '../tools/require.js';
import { type JsonSpan, Tracer } from '../tools/tracer.js';
import { mainReason, timesOf, waitedOf } from '../tools/waits.js';

const ROUNDS = 20;
const CALLS = 10_000;
/** The kernel charges the thread that much more for each wake-up than passes between its switches. */
const SWITCH_NS = 12_000;
/** Of a call that waits several times, where there are few. */
const SWITCHES_NS = 20_000;
/** It may be interrupted in between, or its host have no CPU for it. */
const LOST_NS = 1e6;

interface Counted {
  /** Its thread. */
  holder: number;
  /** Times in ns. */
  functions: Record<string, [calls: number, wall: number, cpu: number]>;
}

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

function assertWithin(spans: readonly JsonSpan[]): void {
  for (const span of spans) {
    const waited = waitedOf(span);
    assert.ok(waited <= span.durationNano * 1.01, `${span.name}: ${waited} ns`);
  }
}

interface Own {
  calls: number;
  wall: number;
  cpu: number;
}

/** What calls have waited against how long their thread had no processor. */
function assertLacked(
  t: TestContext,
  spans: readonly JsonSpan[],
  name: string,
  { calls, wall, cpu }: Own,
): void {
  assert.equal(spans.length, calls, name);
  const waited = spans.reduce((sum, span) => sum + waitedOf(span), 0);
  const lasted = spans.reduce((sum, { durationNano }) => sum + durationNano, 0);
  const lacked = wall - cpu;
  const told = `${name}: ${lasted} ns of ${wall}, ${waited} waited of ${lacked}`;
  t.diagnostic(told);
  const waiting = spans.filter((span) => waitedOf(span) > 0).length;
  const switches = SWITCHES_NS * Math.min(waiting, ROUNDS) + SWITCH_NS * waiting;
  const error = 0.01 * wall + switches + LOST_NS;
  assert.ok(waited <= lacked + error, told);
  // It may have lost its processor within the program's count and outside our call.
  assert.ok(waited >= lacked - (wall - lasted) - error, told);
}

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
      const of = (wanted: string): JsonSpan[] => tracer.spans.filter(({ name }) => name === wanted);

      await t.test('no call waits longer than it takes', () => assertWithin(tracer.spans));
      await t.test('as long as the thread had no processor', () => {
        for (const [name, [calls, wall, cpu]] of Object.entries(counted.functions)) {
          assertLacked(t, of(name), name, { calls, wall, cpu });
        }
      });
      await t.test('for what', () => {
        for (const [name, reason] of Object.entries(REASONS)) {
          assert.equal(
            mainReason(of(name)),
            reason,
            `${name}: ${JSON.stringify(timesOf(of(name)))}`,
          );
        }
        const { runnable = 0, running = 0, ...blocked } = timesOf(of('runner'));
        assert.ok(runnable > 0.1 * running, `runnable ${runnable}, running ${running}`);
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
        assert.equal(event?.attributes['underspan.wait.by.thread'], counted.holder);
        assert.equal(event?.attributes['underspan.wait.by.goroutine'], undefined);
      });
    },
    join(projectRoot, '.cache'),
  );
});

const GO_REASONS = { 'main.blocked': 'sleep', 'main.syncer': 'io', 'main.piper': 'system_call' };

test('what threads of Go wait for while no scheduler of Go knows of it', async (t) => {
  if (!requireBpf(t)) return;
  if (!requireCommands(t, ['go'])) return;
  await inFolder(
    async (folder) => {
      const program = await buildTarget('waits');
      const file = join(folder, 'counted.json');
      const symbols = [...Object.keys(GO_REASONS), 'main.mixed'];
      const tracer = Tracer.start([
        ...['--waits', ...symbols.flatMap((name) => ['--symbol', name])],
        ...['--', program, String(ROUNDS), String(CALLS), folder],
      ]);
      assert.equal(await tracer.ended(), 0, tracer.stderr);
      const counted = JSON.parse(await readFile(file, 'utf8')) as Record<string, Own>;
      const of = (wanted: string): JsonSpan[] => tracer.spans.filter(({ name }) => name === wanted);

      await t.test('no call waits longer than it takes', () => assertWithin(tracer.spans));
      await t.test('as long as the thread had no processor', () => {
        for (const [name, own] of Object.entries(counted)) assertLacked(t, of(name), name, own);
      });
      await t.test('for what', () => {
        for (const [name, reason] of Object.entries(GO_REASONS)) {
          assert.equal(
            mainReason(of(name)),
            reason,
            `${name}: ${JSON.stringify(timesOf(of(name)))}`,
          );
        }
        assert.ok((timesOf(of('main.mixed'))['runnable'] ?? 0) > 0);
      });
    },
    join(projectRoot, '.cache'),
  );
});

const RULES = ['one', 'two'];

test('what threads of one rule wait for is not lost to another', async (t) => {
  if (!requireBpf(t)) return;
  if (!requireCommands(t, ['gcc'])) return;
  await inFolder(
    async (folder) => {
      const program = (rule: string): string => join(folder, rule);
      await Promise.all(
        RULES.map((rule) => compileNative('gcc', 'waits.c', program(rule), ['-O1'])),
      );
      const rules = RULES.map((name) => ({
        name,
        select: { executable: program(name) },
        // Nobody waits for another in that function.
        trace: { symbols: ['sleeper'], waits: true, maxOverhead: '100%' },
        hold: true,
      }));
      const agent = await AgentProcess.start(folder, {
        config: { rules, export: { otlp: false } },
      });
      try {
        const file = (rule: string): string => join(folder, `${rule}.json`);
        await Promise.all(RULES.map((rule) => mkdir(join(folder, `of-${rule}`))));
        const running = await Promise.all(
          RULES.map((rule) =>
            RunningProcess.start(program(rule), [
              ...[String(ROUNDS), String(CALLS), file(rule), join(folder, `of-${rule}`)],
            ]),
          ),
        );
        for (const each of running) assert.equal(await each.ended(), 0, each.output);
        const metrics = await agent.metrics();
        for (const rule of RULES) {
          const counted = JSON.parse(await readFile(file(rule), 'utf8')) as Counted;
          const [calls, wall, cpu] = counted.functions['sleeper'] ?? [0, 0, 0];
          const of = (metric: string): number =>
            metrics.samples(metric, { rule }).reduce((sum, { value }) => sum + value, 0);
          assert.equal(of('underspan_function_calls_total'), calls);
          const waited = of('underspan_function_waits_seconds_total');
          const lacked = (wall - cpu) / 1e9;
          assert.ok(
            waited > 0.9 * lacked && waited < 1.02 * lacked,
            `${rule}: ${waited} of ${lacked} s`,
          );
        }
      } finally {
        await agent.stop();
      }
    },
    join(projectRoot, '.cache'),
  );
});
