import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { duration, printable, size, table } from '../../src/sinks/tree-format.js';
import { TreeSink, type TreeSinkOptions } from '../../src/sinks/tree.js';
import type { AllocationStack, Summary, ValueSummary } from '../../src/sinks/sink.js';
import type { FunctionSpan, ProgramSpan } from '../../src/spans/span.js';

const resource = { attributes: { 'service.name': 'shop' } };
const TRACE = '0af7651916cd43dd8448eb211c80319c';
const EMPTY: Summary = {
  functions: [],
  lost: {},
  contexts: { unreadable: 0, truncated: 0 },
  valuesLost: 0,
  waitsLost: 0,
  allocations: null,
  suspensions: 0,
  overhead: { predicted: null, measured: null },
};

function id(number: number): string {
  return number.toString(16).padStart(16, '0');
}

function call(
  spanId: number,
  parent: number | null,
  name: string,
  startNs: number,
  durationNano: number,
  overrides: Partial<FunctionSpan> = {},
): FunctionSpan {
  return {
    traceId: TRACE,
    spanId: id(spanId),
    parentSpanId: parent === null ? null : id(parent),
    traceFlags: 1,
    name,
    startTimeUnixNano: BigInt(startNs),
    endTimeUnixNano: BigInt(startNs + durationNano),
    durationNano,
    status: { code: 'unset' },
    attributes: {},
    resource,
    functionIndex: 1,
    ...overrides,
  };
}

function program(spanId: number, parent: number | null, name: string, ns: number): ProgramSpan {
  return {
    traceId: TRACE,
    spanId: id(spanId),
    parentSpanId: parent === null ? null : id(parent),
    name,
    startTimeUnixNano: 0n,
    endTimeUnixNano: BigInt(ns),
    resource,
  };
}

/** A sink, its text so far, and a clock to move. */
function sinkWith(options: TreeSinkOptions = {}): {
  sink: TreeSink;
  text: () => string;
  clock: { now: number };
} {
  let text = '';
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done): void {
      text += chunk.toString();
      done();
    },
  });
  const clock = { now: 0 };
  const sink = new TreeSink(stream, { env: {}, now: () => clock.now, ...options });
  return { sink, text: () => text, clock };
}

test('calls stand under the spans of the program, in the order they began', async () => {
  const { sink, text } = sinkWith();
  sink.spans([
    call(5, 3, 'main.(*Stock).Reserve', 500, 1_000_000, { status: { code: 'error' } }),
    call(4, 3, 'main.(*Coupon).Apply', 400, 52_345),
    call(3, 1, 'main.(*Shop).PlaceOrder', 300, 2_000_000),
  ]);
  sink.programSpans([program(1, 99, 'POST /order', 3_000_000)]);
  await sink.flush(1_000);
  assert.deepEqual(text().split('\n'), [
    `trace ${TRACE}  shop`,
    '● POST /order                3.00 ms',
    '└─ main.(*Shop).PlaceOrder   2.00 ms',
    '   ├─ main.(*Coupon).Apply   52.3 µs',
    '   └─ main.(*Stock).Reserve  1.00 ms  error',
    '',
    '',
  ]);
  await sink.close(EMPTY);
});

test('a parent that was not seen is named by its id', async () => {
  const { sink, text } = sinkWith();
  sink.spans([call(2, 0x0123abcd4567, 'main.a', 10, 10)]);
  sink.spans([call(3, 0x0123abcd4567, 'main.b', 5, 10)]);
  await sink.flush(1_000);
  const lines = text().split('\n');
  assert.equal(lines[1], '● span 00000123…');
  assert.match(lines[2] ?? '', /^├─ main\.b/);
  assert.match(lines[3] ?? '', /^└─ main\.a/);
  await sink.close(EMPTY);
});

test('a span that stands for many counts as so many', async () => {
  const { sink, text } = sinkWith();
  const folded = (total: number): Partial<FunctionSpan> => ({
    attributes: { 'underspan.folded.count': 9_980, 'underspan.folded.total': total },
  });
  sink.spans([
    ...Array.from({ length: 16 }, (_, index) => call(10 + index, 1, 'main.query', index, 100)),
    call(40, 1, 'main.query', 16, 900_000, folded(998_000)),
    ...Array.from({ length: 4 }, (_, index) => call(50 + index, 1, 'main.query', 100 + index, 100)),
    call(60, 1, 'main.other', 1_000, 5_000, folded(4_000)),
    call(1, null, 'main.root', 0, 2_000_000),
  ]);
  await sink.flush(1_000);
  assert.deepEqual(text().split('\n').slice(1, -2), [
    'main.root               2.00 ms',
    '├─ main.query × 10,000  1.00 ms',
    '└─ main.other × 9,980   4.00 µs',
  ]);
  await sink.close(EMPTY);
});

test('many alike become one line, but not those with something beneath or an error', async () => {
  const { sink, text } = sinkWith();
  const calls = Array.from({ length: 12 }, (_, index) =>
    call(10 + index, 1, 'main.leaf', index, 100),
  );
  sink.spans([...calls.slice(0, 5), call(90, 10 + 5, 'main.inner', 6, 10), ...calls.slice(5)]);
  sink.spans([call(1, null, 'main.root', 0, 5_000)]);
  await sink.flush(1_000);
  const lines = text().split('\n').slice(1, -2);
  assert.deepEqual(
    lines.map((line) => line.replace(/ {2,}/g, ' ').trim()),
    [
      'main.root 5.00 µs',
      '├─ main.leaf × 5 500 ns',
      '├─ main.leaf 100 ns',
      '│ └─ main.inner 10 ns',
      '└─ main.leaf × 6 600 ns',
    ],
  );
  await sink.close(EMPTY);
});

test('a trace is shown soon after its root has ended, else when it is quiet', async () => {
  const { sink, text, clock } = sinkWith();
  sink.spans([call(2, 1, 'main.a', 0, 10)]);
  clock.now = 1_900;
  await sleep(150);
  assert.equal(text(), '');
  clock.now = 2_000;
  await sleep(150);
  assert.match(text(), /main\.a/);
  sink.spans([call(7, null, 'main.root', 0, 10)]);
  clock.now = 2_250;
  await sleep(150);
  assert.match(text(), /main\.root/);
  await sink.close(EMPTY);
});

test('colours only on a terminal, and not with NO_COLOR', async () => {
  for (const [options, colours] of [
    [{ terminal: true }, true],
    [{ terminal: true, env: { NO_COLOR: '1' } }, false],
    [{ terminal: true, env: { TERM: 'dumb' } }, false],
    [{}, false],
  ] as const) {
    const { sink, text } = sinkWith(options);
    sink.spans([call(2, 1, 'main.a', 0, 10)]);
    await sink.close(EMPTY);
    assert.equal(text().includes('\u001b['), colours, JSON.stringify(options));
  }
});

test('a terminal is not flooded, and says so', async () => {
  const { sink, text } = sinkWith({ terminal: true, env: { NO_COLOR: '1' } });
  for (let trace = 0; trace < 50; trace++) {
    sink.spans([call(2, 1, 'main.a', 0, 10, { traceId: id(trace) + id(trace) })]);
  }
  await sink.close(EMPTY);
  assert.equal(text().match(/^trace /gm)?.length, 20);
  assert.match(text(), /… 30 more traces/);
});

test('what a slow reader does not take is counted', async () => {
  const stream = new Writable({ highWaterMark: 16, write: () => undefined });
  const sink = new TreeSink(stream, { maxBytes: 1_000, env: {} });
  for (let trace = 0; trace < 50; trace++) {
    sink.spans([call(2, 1, 'main.a', 0, 10, { traceId: id(trace) + id(trace) })]);
  }
  await sink.flush(20);
  assert.ok((sink.lost()['output'] ?? 0) > 30);
});

test('names cannot steer the terminal', async () => {
  const { sink, text } = sinkWith();
  sink.programSpans([program(1, null, '\u001b[2Jgone\u0007\u202e', 10)]);
  sink.spans([call(2, 1, 'main.a', 0, 10)]);
  await sink.close(EMPTY);
  assert.match(text(), /● \\u001b\[2Jgone\\u0007\\u202e/);
  assert.ok(!text().includes('\u001b'));
  assert.equal(printable('größe 価格'), 'größe 価格');
});

test('a span that names itself, or a circle, does no harm', async () => {
  const { sink, text } = sinkWith();
  sink.spans([
    call(1, 1, 'main.self', 0, 10),
    call(2, 3, 'main.x', 0, 10),
    call(3, 2, 'main.y', 0, 10),
  ]);
  await sink.close(EMPTY);
  assert.match(text(), /main\.self/);
});

test('the summary: functions by total time, losses that occurred, overhead', async () => {
  const { sink, text } = sinkWith();
  const of = {
    ...{ sites: 2, spans: 1, errors: 0, foreign: 0 },
    ...{ minNano: 10, p50Nano: 20, p99Nano: 30, maxNano: 40 },
    waitedNano: {},
    watchedCalls: 0,
  };
  await sink.close({
    functions: [
      { name: 'main.fast', calls: 1_234, totalNano: 100, selfNano: 90, ...of },
      { name: 'main.slow', calls: 2, totalNano: 5e9, selfNano: 1e9, ...of },
      { name: 'kernel:rcv', calls: 0, totalNano: 0, selfNano: 0, ...of, maxNano: 0, foreign: 5 },
    ],
    lost: { tooShort: 3, ringFull: 0, torn: 1_000 },
    contexts: { unreadable: 0, truncated: 0 },
    valuesLost: 0,
    waitsLost: 0,
    allocations: null,
    suspensions: 2,
    overhead: { predicted: 0.0123, measured: null },
  });
  const lines = text().split('\n');
  assert.match(lines[0] ?? '', /^function +calls +spans +errors +min +p50 +p99 +max +total +self$/);
  assert.match(lines[1] ?? '', /^main\.slow +2 +1 +0 .* 5\.00 s +1\.00 s$/);
  assert.match(lines[2] ?? '', /^main\.fast +1,234 /);
  assert.equal(lines[3], '1 more function was not called');
  assert.ok(lines.includes('lost: torn 1,000, too short 3'));
  assert.ok(
    lines.includes('in interrupts or for probes, and no calls of the program: kernel:rcv 5'),
  );
  assert.ok(lines.includes('times that tracing was suspended to keep to the budget: 2'));
  assert.ok(lines.includes('overhead: predicted 1.23 % of a CPU, measured unknown'));
});

const place = (name: string, line: number): object => ({ function: name, file: '/a.go', line });

test('where was allocated: the first five stacks, each with its first frames', async () => {
  const { sink, text } = sinkWith();
  const stacks = Array.from({ length: 7 }, (_, index) => ({
    function: 'main.work',
    ...{ bytes: (7 - index) * 2 ** 20, samples: 10, cut: index === 1 },
    frames: Array.from({ length: index === 0 ? 11 : 1 }, (_, line) => place('main.a', line)),
  })) as AllocationStack[];
  const uncounted = { bytes: 4 * 2 ** 20, samples: 1 };
  const allocations = { bytes: 32 * 2 ** 20, samples: 1_071, stacks, others: 3, uncounted };
  await sink.close({ ...EMPTY, allocations });
  const lines = text().split('\n');
  const from = lines.indexOf('allocated, of 32.0 MiB in 1,071 samples:');
  assert.deepEqual(lines.slice(from + 1, from + 14), [
    '  21.9 %, 7.00 MiB in 10 samples: main.work',
    ...Array.from({ length: 8 }, (_, line) => `    main.a /a.go:${line}`),
    '    … 3 more',
    '  18.8 %, 6.00 MiB in 10 samples: main.work',
    '    main.a /a.go:0',
    '    …',
  ]);
  assert.ok(lines.includes('  and 5 other stacks, 1 sample of stacks that found no room'));
});

test('nothing is said of stacks where nothing was allocated', async () => {
  const { sink, text } = sinkWith();
  const uncounted = { bytes: 0, samples: 0 };
  const allocations = { bytes: 0, samples: 0, stacks: [], others: 0, uncounted };
  await sink.close({ ...EMPTY, allocations });
  assert.doesNotMatch(text(), /allocated/);
});

test('sizes have three digits', () => {
  for (const [bytes, text] of [
    [0, '0 B'],
    [1_023, '1023 B'],
    [1_024, '1.00 KiB'],
    [1_048_575, '1.00 MiB'],
    [123.4 * 2 ** 30, '123 GiB'],
    [2 ** 70, '1048576 PiB'],
  ] as const) {
    assert.equal(size(bytes), text);
  }
});

test('the summary by a value: its requests, and the functions that took longest', async () => {
  const { sink, text } = sinkWith();
  const functionOf = (number: number): ValueSummary['functions'][number] => ({
    ...{ name: `main.f${number}`, calls: 2, totalNano: 1e6 * (10 - number), maxNano: 1e6 },
  });
  const row = { requests: 4, totalNano: 8e6, maxNano: 5e6, functions: [functionOf(9)] };
  const functions = [1, 2, 3, 4, 5, 6].map(functionOf);
  await sink.close({
    ...EMPTY,
    by: {
      key: 'span.attr.tenant',
      values: [
        { kind: 'value', value: 'ac\u001bme', ...row, functions },
        { kind: 'value', value: '(none)', ...row },
        { kind: 'value', value: 7, ...row },
        { kind: 'other', value: null, ...row },
        { kind: 'none', value: null, ...row },
        { kind: 'unknown', value: null, ...row },
      ],
    },
  });
  const lines = text().split('\n');
  const from = lines.findIndex((line) => /^span\.attr\.tenant +requests +calls/.test(line));
  const own = lines.slice(from + 1, lines.indexOf('', from));
  const heads = own.filter((line) => !line.startsWith('  '));
  assert.match(heads[0] ?? '', /^ac\\u001bme +4 +12 +2\.00 ms +5\.00 ms +8\.00 ms$/);
  assert.deepEqual(
    heads.slice(1).map((line) => line.split('  ')[0]),
    [
      "'(none)'",
      '7',
      'other',
      '(none)',
      '(unknown)',
      'of spans that were kept; each value with its five longest functions',
    ],
  );
  assert.match(own[1] ?? '', /^ {2}main\.f1 +2 +4\.50 ms +1\.00 ms +9\.00 ms$/);
  assert.equal(own.filter((line) => line.startsWith('  ')).length, 10, 'five of the first');
});

test('durations have three digits', () => {
  for (const [ns, text] of [
    [0, '0 ns'],
    [999, '999 ns'],
    [1_000, '1.00 µs'],
    [12_345, '12.3 µs'],
    [999_990, '1.00 ms'],
    [123_456_789, '123 ms'],
    [5_000_000_000, '5.00 s'],
    [90e9, '1.50 min'],
  ] as const) {
    assert.equal(duration(ns), text);
  }
  assert.deepEqual(
    table([
      ['a', '1'],
      ['bbb', '22'],
    ]),
    ['a     1', 'bbb  22'],
  );
});
