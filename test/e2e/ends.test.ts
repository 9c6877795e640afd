/** Calls that are open when their process ends, in every way that it can. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildTarget } from '../tools/go.js';
import { requireBpf } from '../tools/require.js';
import { type JsonSpan, totalLost, Tracer } from '../tools/tracer.js';

/** As the program makes them, whatever ends it. */
const CALLS = { 'main.wait': 1, 'main.outer': 1, 'main.middle': 1, 'main.inner': 10 };
type Calls = Record<string, number>;

async function run(how: string, args: string[] = []): Promise<Tracer> {
  const program = await buildTarget('ends');
  const patterns = ['main.outer', 'main.middle', 'main.inner', 'main.wait', 'main.again'];
  const tracer = await Tracer.attach([...args, ...patterns, '--', program, how]);
  await tracer.ended();
  return tracer;
}

/** Every call is a span, or one of `lost`; and no span hangs from one that did not come. */
function assertCalls(tracer: Tracer, expected: Calls, lost: Calls = {}): void {
  const called = Object.entries(expected).sort();
  const counted = tracer.result.functions.filter(({ calls }) => calls > 0);
  assert.deepEqual(counted.map(({ name, calls }) => [name, calls]).sort(), called);
  const losses = Object.entries(tracer.result.lost).filter(([, count]) => count !== 0);
  assert.deepEqual(Object.fromEntries(losses), lost);
  const calls = called.reduce((sum, [, count]) => sum + count, 0);
  assert.equal(tracer.spans.length + totalLost(tracer.result), calls);
  for (const { name, spans } of counted) {
    assert.equal(tracer.spans.filter((span) => span.name === name).length, spans, name);
  }
  const ids = new Set(tracer.spans.map(({ spanId }) => spanId));
  assert.equal(ids.size, tracer.spans.length, 'a span came twice');
  for (const { parentSpanId, name } of tracer.spans) {
    assert.ok(parentSpanId === null || ids.has(parentSpanId), `${name} dangles`);
  }
}

function only(tracer: Tracer, name: string): JsonSpan {
  const [span, second] = tracer.spans.filter((each) => each.name === name);
  assert.ok(span && !second, name);
  return span;
}

const isIncomplete = ({ attributes }: JsonSpan): boolean =>
  attributes['underspan.incomplete'] === true;

const NESTED = [
  ['main.outer', 'main.middle'],
  ['main.middle', 'main.inner'],
] as const;

function assertNested({ spans }: Tracer): void {
  for (const [above, beneath] of NESTED) {
    const parent = spans.find(({ name }) => name === above);
    for (const span of spans.filter(({ name }) => name === beneath)) {
      assert.equal(span.parentSpanId, parent?.spanId, beneath);
      assert.ok(BigInt(span.endTimeUnixNano) <= BigInt(parent?.endTimeUnixNano ?? 0), beneath);
    }
  }
}

const PANICS: [string, Calls][] = [
  ['panic', CALLS],
  ['error', CALLS],
  ['repanic', { ...CALLS, 'main.again': 1 }],
];
for (const [how, calls] of PANICS) {
  test(`${how}: a fatal panic ends the calls of its goroutine with an error`, async (t) => {
    if (!requireBpf(t)) return;
    const tracer = await run(how);
    assert.equal(tracer.child.exitCode, 2, tracer.stderr);
    assertCalls(tracer, calls);
    assertNested(tracer);
    for (const name of ['main.outer', 'main.middle']) {
      const span = only(tracer, name);
      assert.equal(span.status.code, 'error', name);
      assert.ok(!isIncomplete(span), name);
    }
    // Of the others nothing is known but that they were open.
    const wait = only(tracer, 'main.wait');
    assert.ok(isIncomplete(wait));
    assert.equal(wait.status.code, 'unset');
    assert.ok(BigInt(wait.endTimeUnixNano) >= BigInt(only(tracer, 'main.outer').endTimeUnixNano));
  });
}

for (const [how, status] of [
  ['exit', 3],
  ['throw', 2],
  ['kill', 137],
] as const) {
  test(`${how}: calls end when their process does`, async (t) => {
    if (!requireBpf(t)) return;
    const tracer = await run(how);
    assert.equal(tracer.child.exitCode, status, tracer.stderr);
    assertCalls(tracer, CALLS);
    assertNested(tracer);
    for (const name of ['main.outer', 'main.middle', 'main.wait']) {
      const span = only(tracer, name);
      assert.ok(isIncomplete(span), name);
      assert.equal(span.status.code, 'unset', name);
    }
    assert.ok(
      tracer.spans.filter(({ name }) => name === 'main.inner').every((x) => !isIncomplete(x)),
    );
  });
}

test('a goroutine that never returns ends with its process', async (t) => {
  if (!requireBpf(t)) return;
  const tracer = await run('return');
  assert.equal(tracer.child.exitCode, 0, tracer.stderr);
  assertCalls(tracer, CALLS);
  assert.deepEqual(
    tracer.spans.filter(isIncomplete).map(({ name }) => name),
    ['main.wait'],
  );
});

test('calls of a program that executes another are counted as unpaired', async (t) => {
  if (!requireBpf(t)) return;
  const tracer = await run('exec');
  assert.equal(tracer.child.exitCode, 0, tracer.stderr);
  const { result, spans } = tracer;
  assert.equal(spans.length + totalLost(result), 13, JSON.stringify(result.lost));
  assert.equal(result.lost['unpaired'], 3);
});

test('what a filter leaves out stays out, and is counted', async (t) => {
  if (!requireBpf(t)) return;
  assertCalls(await run('exit', ['--slower-than', '1h']), CALLS, { filtered: 10, open: 3 });
  assertCalls(await run('exit', ['--min-duration', '1h']), CALLS, { tooShort: 10, open: 3 });
  assertCalls(await run('exit', ['--no-roots']), CALLS, { rootless: 10, open: 3 });
});
