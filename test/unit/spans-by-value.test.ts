import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Call, ProgramSpanRecord } from '../../src/spans/call.js';
import { CallEnd, ContextSource, ParentKind } from '../../src/spans/records.generated.js';
import type { AttributeValue } from '../../src/spans/span.js';
import { SpansByValue, type SpansByValueOptions } from '../../src/spans/spans-by-value.js';
import type { ValueCounts } from '../../src/spans/value-table.js';

const id = (number: number): string => number.toString(16).padStart(16, '0');
const TRACE = id(7) + id(8);
const UNREADABLE = 0;
const TENANT = 1;

interface Scene {
  spans: SpansByValue;
  clock: { now: bigint };
}

function scene(options: Partial<SpansByValueOptions> = {}): Scene {
  const clock = { now: 0n };
  const spans = new SpansByValue({
    key: {
      ...{ text: 'span.attr.tenant', attribute: 'tenant' },
      valueOf: ({ attributes }) =>
        attributes?.has(UNREADABLE) ? null : (attributes?.get(TENANT) ?? undefined),
    },
    nameOf: (index) => `main.f${index}`,
    now: () => clock.now,
    ...options,
  });
  return { spans, clock };
}

/** Beneath a span of the program, unless others say something else. */
const call = (number: number, parent: number, others: Partial<Call> = {}): Call => ({
  ...{ traceId: TRACE, spanId: id(number), parentId: id(parent), parentKind: ParentKind.PROGRAM },
  ...{ treeId: id(number), traceFlags: 1, source: 1, end: CallEnd.RETURNED, depth: 0 },
  ...{ startNs: 0n, durationNs: 10, descendants: 0, function: 1, tgid: 42, tid: 42, stack: 1n },
  ...{ goroutineId: 1, treeSpans: 1, treeLost: 0, failed: false, values: null, fold: null },
  ...{ waits: null, waitsKnown: false, incomplete: false, unclosed: false },
  ...others,
});

const CALL = { parentKind: ParentKind.CALL };

/** `tenant`: null where it cannot be read. */
const span = (
  number: number,
  parent: number | null,
  tenant?: AttributeValue | null,
  others: Partial<ProgramSpanRecord> = {},
): ProgramSpanRecord => ({
  ...{ traceId: TRACE, spanId: id(number), parentId: parent === null ? null : id(parent) },
  ...{ name: '', parentRemote: false, status: 'unset', startNs: 0n, endNs: 100n, tgid: 42 },
  goroutineId: 1,
  attributes:
    tenant === undefined
      ? null
      : new Map([tenant === null ? [UNREADABLE, true] : [TENANT, tenant]]),
  ...others,
});

/** "acme 2: main.f1 3" */
const told = (spans: SpansByValue, most = 20): string[] =>
  spans.rows(most).map(({ kind, value, requests, functions }: ValueCounts) => {
    const each = [...functions].map(([name, { calls }]) => `${name} ${calls}`).sort();
    return `${kind === 'value' ? String(value) : kind} ${requests}: ${each.join(', ')}`;
  });

test('calls are counted when the span around them has ended, and by how long they took', () => {
  const { spans } = scene();
  spans.add([
    call(3, 2, { ...CALL, function: 2, durationNs: 3 }),
    call(4, 2, { ...CALL, function: 2, durationNs: 5 }),
    call(2, 10),
  ]);
  spans.add([call(5, 10, { durationNs: 20 })]);
  assert.ok(spans.waits);
  assert.deepEqual(spans.rows(20), []);
  spans.spanEnded(span(10, null, 'acme'));
  assert.ok(!spans.waits);
  const [row] = spans.rows(20);
  assert.deepEqual(
    row?.functions,
    new Map([
      ['main.f2', { calls: 2, totalNs: 8, maxNs: 5 }],
      ['main.f1', { calls: 2, totalNs: 30, maxNs: 20 }],
    ]),
  );
  // The request took as long as its own span.
  assert.deepEqual([row.value, row.requests, row.totalNs, row.maxNs], ['acme', 1, 100, 100]);
});

test('the innermost span that has a value decides', () => {
  const { spans } = scene();
  spans.add([call(1, 10)]);
  spans.add([call(2, 11, { function: 2 })]);
  spans.add([call(3, 12, { function: 3 })]);
  spans.spanEnded(span(10, 11));
  spans.spanEnded(span(11, 12, 'inner', { endNs: 200n }));
  assert.deepEqual(told(spans), [], 'a span further out may be of the same request');
  spans.spanEnded(span(12, null, 'outer'));
  assert.deepEqual(told(spans), ['inner 1: main.f1 1, main.f2 1', 'outer 1: main.f3 1']);
});

test('a request whose spans all carry the value is one', () => {
  const { spans } = scene();
  for (const [number, parent] of [
    [1, 10],
    [2, 11],
    [3, 12],
  ] as const) {
    spans.add([call(number, parent)]);
  }
  spans.spanEnded(span(10, 12, 'acme'));
  spans.spanEnded(span(11, 12, 'acme'));
  spans.spanEnded(span(12, null, 'acme', { endNs: 500n }));
  spans.spanEnded(span(20, null, 'acme'));
  spans.add([call(4, 20)]);
  assert.deepEqual(told(spans), ['acme 2: main.f1 4']);
  assert.equal(spans.rows(20)[0]?.totalNs, 600);
});

test('calls of one tree may stand beneath different spans', () => {
  const { spans } = scene();
  spans.spanEnded(span(11, 10, 'acme'));
  spans.spanEnded(span(12, 10, 'globex'));
  spans.spanEnded(span(10, null));
  spans.add([
    call(5, 3, { ...CALL, function: 5 }),
    call(3, 11, { function: 3 }),
    call(4, 12, { function: 4 }),
    call(2, 1, { ...CALL, function: 2 }),
    call(1, 10),
  ]);
  assert.deepEqual(told(spans), [
    'acme 1: main.f3 1, main.f5 1',
    'globex 1: main.f4 1',
    'none 1: main.f1 1, main.f2 1',
  ]);
});

test('calls that go out before those around them are counted with them', () => {
  const { spans } = scene();
  spans.spanEnded(span(10, null, 'acme'));
  spans.add([call(4, 3, { ...CALL, function: 4 })]);
  spans.add([call(5, 3, { ...CALL, function: 4 }), call(6, 1, { ...CALL, function: 6 })]);
  assert.deepEqual(told(spans), []);
  spans.add([call(3, 1, { ...CALL, function: 3 })]);
  spans.add([call(1, 10)]);
  assert.deepEqual(told(spans), ['acme 1: main.f1 1, main.f3 1, main.f4 2, main.f6 1']);
});

test('a span without the attribute is none, and what cannot be read is unknown', () => {
  const { spans } = scene();
  const none = { parentKind: ParentKind.NONE };
  spans.add([call(1, 10)]);
  spans.add([call(2, 20, { function: 2 })]);
  spans.add([call(3, 30, { function: 3 })]);
  spans.add([call(4, 0, { ...none, source: ContextSource.NONE, function: 4 })]);
  spans.add([call(5, 0, { ...none, source: ContextSource.UNREADABLE, function: 5 })]);
  spans.spanEnded(span(10, 99, undefined, { parentRemote: true }));
  spans.spanEnded(span(20, 21, null));
  spans.spanEnded(span(21, null, 'acme'));
  // Of another process: not its own request.
  spans.spanEnded(span(30, null, 'acme', { tgid: 43 }));
  assert.deepEqual(told(spans), [
    'none 3: main.f1 1, main.f3 1, main.f4 1',
    'unknown 2: main.f2 1, main.f5 1',
  ]);
});

test('kinds of values are told apart', () => {
  const { spans } = scene();
  for (const [index, value] of ['1', 1, true, 'true', ''].entries()) {
    spans.add([call(index + 1, 100 + index)]);
    spans.spanEnded(span(100 + index, null, value, { endNs: BigInt(100 - index) }));
  }
  assert.deepEqual(
    spans.rows(20).map(({ kind, value }) => [kind, value]),
    ['1', 1, true, 'true', ''].map((value) => ['value', value]),
  );
});

test('a folded span counts as the calls that it stands for', () => {
  const { spans } = scene();
  const fold = { count: 50, totalNs: 400, slowestNs: 30, fastestNs: 1, failures: 0 };
  spans.spanEnded(span(10, null, 'acme'));
  spans.add([call(2, 1, { ...CALL, function: 2, fold, durationNs: 900 }), call(1, 10)]);
  const [row] = spans.rows(20);
  assert.deepEqual(row?.functions.get('main.f2'), { calls: 50, totalNs: 400, maxNs: 30 });
});

test('what waits for too long is unknown, unless a span within has said it', () => {
  const { spans, clock } = scene({ waitNs: 100n });
  spans.add([call(1, 10)]);
  spans.add([call(2, 20, { function: 2, durationNs: 7 })]);
  spans.spanEnded(span(10, 11, 'acme'));
  clock.now = 99n;
  spans.tick();
  assert.deepEqual(told(spans), []);
  clock.now = 100n;
  spans.tick();
  assert.deepEqual(told(spans), ['acme 1: main.f1 1', 'unknown 1: main.f2 1']);
  assert.equal(spans.rows(20)[1]?.totalNs, 7, 'of no known request: how long its calls took');
  assert.ok(!spans.waits);
  spans.spanEnded(span(20, null, 'acme'));
  assert.deepEqual(told(spans), ['acme 1: main.f1 1', 'unknown 1: main.f2 1']);
});

test('at the end nothing is left out: of a process, then of all', () => {
  const { spans } = scene();
  spans.add([call(1, 10)]);
  spans.add([call(2, 20, { tgid: 43, function: 2 })]);
  spans.add([call(3, 9, { ...CALL, tgid: 43, function: 3 })]);
  spans.finish(({ tgid }) => tgid === 43);
  assert.deepEqual(told(spans), ['unknown 2: main.f2 1, main.f3 1']);
  spans.finish();
  assert.deepEqual(told(spans), ['unknown 3: main.f1 1, main.f2 1, main.f3 1']);
});

test('values, their functions, and what waits are bounded, and nothing is lost', () => {
  const { spans } = scene({ maxValues: 3, maxFunctions: 4, maxBytes: 2_000, maxOpen: 2 });
  for (let number = 1; number <= 6; number++) {
    spans.spanEnded(span(100 + number, null, `t${number}`, { endNs: BigInt(100 * number) }));
    spans.add([call(number, 100 + number)]);
  }
  assert.deepEqual(told(spans), [
    't3 1: main.f1 1',
    't2 1: main.f1 1',
    't1 1: main.f1 1',
    'other 3: main.f1 3',
  ]);
  assert.deepEqual(told(spans, 1), ['t3 1: main.f1 1', 'other 5: main.f1 5']);
  spans.add([call(7, 101, { function: 2 }), call(8, 101, { function: 3 })]);
  assert.equal(told(spans)[2], 't1 1: main.f1 1, other functions 2');
  for (let number = 10; number < 20; number++) spans.add([call(number, 200)]);
  for (let number = 20; number < 30; number++) spans.add([call(number, 300 + number, CALL)]);
  assert.equal(told(spans).at(-1), 'unknown 15: other functions 15', 'the oldest make room');
  spans.finish();
  const all = spans.rows(20).flatMap(({ functions }) => [...functions.values()]);
  assert.equal(
    all.reduce((sum, { calls }) => sum + calls, 0),
    28,
  );
});
