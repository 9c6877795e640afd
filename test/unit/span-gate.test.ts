import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Call, ProgramSpanRecord } from '../../src/spans/call.js';
import { CallEnd, ParentKind } from '../../src/spans/records.generated.js';
import { parseSpanCondition } from '../../src/spans/span-condition.js';
import { SpanGate, type SpanGateOptions } from '../../src/spans/span-gate.js';

const id = (number: number): string => number.toString(16).padStart(16, '0');
const TRACE = id(7) + id(8);

interface Scene {
  gate: SpanGate;
  released: string[];
  lost: Record<string, number>;
  clock: { now: bigint };
}

function scene(options: Partial<SpanGateOptions> = {}): Scene {
  const released: string[] = [];
  const lost: Record<string, number> = {};
  const clock = { now: 0n };
  const wanted = parseSpanCondition('POST *', []);
  const gate = new SpanGate({
    conditionOf: (fn) => (fn === 1 ? wanted : null),
    release: (calls) => released.push(...calls.map(({ spanId }) => spanId)),
    lost: (reason, calls) => (lost[reason] = (lost[reason] ?? 0) + calls.length),
    now: () => clock.now,
    ...options,
  });
  return { gate, released, lost, clock };
}

/** A tree of two calls beneath a span of the program. */
function tree(number: number, parent: number, others: Partial<Call> = {}): Call[] {
  const call = (spanId: string): Call => ({
    ...{ traceId: TRACE, spanId, parentId: id(number), parentKind: ParentKind.CALL },
    ...{ treeId: id(number), traceFlags: 1, source: 1, end: CallEnd.RETURNED, depth: 0 },
    ...{ startNs: 0n, durationNs: 1, descendants: 0, function: 1, tgid: 42, tid: 42, stack: 1n },
    ...{
      goroutineId: 1,
      treeSpans: 2,
      treeLost: 0,
      failed: false,
      values: null,
      fold: null,
      waits: null,
      waitsKnown: false,
    },
    ...{ incomplete: false, unclosed: false },
    ...others,
  });
  const outermost = call(id(number));
  outermost.parentId = id(parent);
  outermost.parentKind = others.parentKind ?? ParentKind.PROGRAM;
  return [call(id(number + 1_000)), outermost];
}

const span = (
  number: number,
  parent: number | null,
  name: string,
  others: Partial<ProgramSpanRecord> = {},
): ProgramSpanRecord => ({
  ...{ traceId: TRACE, spanId: id(number), parentId: parent === null ? null : id(parent), name },
  ...{ parentRemote: false, status: 'unset', attributes: null, startNs: 0n, endNs: 1n },
  ...{ tgid: 42, goroutineId: 1 },
  ...others,
});

test('a tree waits for the span that it hangs from, and for those around it', () => {
  const { gate, released, lost } = scene();
  gate.add(tree(1, 10));
  gate.add(tree(2, 10));
  gate.add(tree(3, 20));
  assert.ok(gate.waits);
  gate.spanEnded(span(10, 11, 'inner'));
  assert.deepEqual(released, []);
  gate.spanEnded(span(11, 12, 'POST /order'));
  assert.deepEqual(released, [id(1_001), id(1), id(1_002), id(2)]);
  // The span around is in another process, and its end will not be told.
  gate.spanEnded(span(20, 21, 'GET /', { parentRemote: true }));
  assert.deepEqual(lost, { filtered: 2 });
  assert.ok(!gate.waits);
});

test('a span that has ended before its tree still decides', () => {
  const { gate, released, lost } = scene();
  gate.spanEnded(span(10, 11, 'inner'));
  gate.spanEnded(span(11, null, 'POST /order'));
  gate.spanEnded(span(20, null, 'GET /'));
  gate.add(tree(1, 10));
  gate.add(tree(2, 20));
  assert.equal(released.length, 2);
  assert.deepEqual(lost, { filtered: 2 });
});

test('a tree without such a span, or of a function that nobody filters', () => {
  const { gate, released, lost } = scene();
  gate.add(tree(1, 0, { parentKind: ParentKind.NONE }));
  assert.deepEqual(lost, { filtered: 2 });
  gate.add(tree(2, 0, { function: 2, parentKind: ParentKind.NONE }));
  assert.equal(released.length, 2);
  gate.add(tree(3, 10).slice(0, 1));
  assert.deepEqual(lost, { filtered: 2, undecided: 1 });
});

test('an attribute that could not be read decides nothing', () => {
  const condition = parseSpanCondition(null, ['span.attr.tenant == "acme"']);
  const { gate, released, lost } = scene({ conditionOf: () => condition });
  const [tenant] = condition?.attributes ?? [];
  const unread = { attributes: new Map([[0, true]]) };
  gate.add(tree(1, 10));
  gate.spanEnded(span(10, 11, 'inner', unread));
  assert.deepEqual([released, lost], [[], {}], 'a span around may be the one');
  gate.spanEnded(span(11, null, 'outer'));
  assert.deepEqual(lost, { undecided: 2 });
  gate.add(tree(2, 20));
  gate.spanEnded(span(20, 21, 'inner', unread));
  gate.spanEnded(span(21, null, 'outer', { attributes: new Map([[tenant?.number ?? 0, 'acme']]) }));
  assert.equal(released.length, 2);
});

test('another process cannot speak for it', () => {
  const { gate, released, lost } = scene();
  gate.add(tree(1, 10));
  gate.spanEnded(span(10, null, 'POST /order', { tgid: 43 }));
  assert.deepEqual([released, lost], [[], { filtered: 2 }]);
});

test('what waits for too long, or takes too much memory, is given up', () => {
  const { gate, released, lost, clock } = scene({ waitNs: 100n, maxBytes: 5_000 });
  gate.add(tree(1, 10));
  clock.now = 99n;
  gate.tick();
  assert.deepEqual(lost, {});
  gate.add(tree(2, 11));
  clock.now = 100n;
  gate.tick();
  assert.deepEqual(lost, { undecided: 2 });
  for (let number = 3; number < 20; number++) gate.add(tree(number, 11));
  assert.ok((lost['undecided'] ?? 0) > 20);
  gate.spanEnded(span(11, null, 'POST /order'));
  assert.ok(released.length >= 4);
  assert.equal(released.length + (lost['undecided'] ?? 0), 2 * 19);
  assert.deepEqual(released.slice(-2), [id(1_019), id(19)], 'the oldest make room');
  gate.spanEnded(span(10, null, 'POST /order'));
  assert.equal(released.length + (lost['undecided'] ?? 0), 2 * 19);
});

test('a process that has exited ends no spans', () => {
  const { gate, lost } = scene();
  gate.add(tree(1, 10));
  gate.add(tree(2, 11, { tgid: 43 }));
  gate.finish(({ tgid }) => tgid === 42);
  assert.deepEqual(lost, { undecided: 2 });
  assert.ok(gate.waits);
  gate.finish();
  assert.deepEqual(lost, { undecided: 4 });
  assert.ok(!gate.waits);
});
