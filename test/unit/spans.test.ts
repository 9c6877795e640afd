import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Call, ProcessRecord, ProgramSpanRecord } from '../../src/spans/call.js';
import { decodeOpenCalls, Decoder } from '../../src/spans/decode.js';
import { quantile } from '../../src/spans/quantiles.js';
import {
  callRecord,
  CallEnd,
  ContextSource,
  HISTOGRAM_BUCKETS,
  openCall,
  ParentKind,
  fileKey,
  processRecord,
  programSpanRecord,
  RecordKind,
  WaitKind,
  waitRecord,
  waker,
  waits as waitsLayout,
  WaitsKnown,
  waitsRecord,
  recordHeader,
  spanAttributeRecord,
} from '../../src/spans/records.generated.js';
import { sampleThreshold } from '../../src/spans/sampling.js';
import { SpanMaker } from '../../src/spans/spans.js';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const START = 0x0123_4567_89ab_cdefn;

function record(kind: number, size: number): Buffer {
  const buffer = Buffer.alloc(size);
  buffer.writeUInt32LE(kind, 0);
  buffer.writeUInt32LE(size, 4);
  return buffer;
}

function callBytes(known: number = WaitsKnown.UNKNOWN): Buffer {
  const bytes = record(RecordKind.CALL, callRecord.size);
  bytes.writeBigUInt64LE(START, callRecord.startNs);
  bytes.writeBigUInt64LE(START + 0x1_2345_6789n, callRecord.endNs);
  bytes.write(TRACE, callRecord.traceId, 'hex');
  bytes.write('b7ad6b7169203331', callRecord.spanId, 'hex');
  bytes.write('00f067aa0ba902b7', callRecord.parentId, 'hex');
  bytes.write('1112131415161718', callRecord.treeId, 'hex');
  bytes.writeBigUInt64LE(0xc000_0001_2345n, callRecord.stack);
  bytes.writeBigUInt64LE(0x1_0000_0007n, callRecord.goroutineId);
  bytes.writeUInt32LE(3, callRecord.descendants);
  bytes.writeUInt32LE(1, callRecord.function);
  bytes.writeUInt32LE(4242, callRecord.tgid);
  bytes.writeUInt32LE(4243, callRecord.tid);
  bytes.writeUInt32LE(5, callRecord.treeSpans);
  bytes.writeUInt32LE(6, callRecord.treeLost);
  bytes[callRecord.source] = ContextSource.GO_SDK;
  bytes[callRecord.end] = CallEnd.PANICKED;
  bytes[callRecord.traceFlags] = 1;
  bytes[callRecord.depth] = 2;
  bytes[callRecord.parentKind] = ParentKind.CALL;
  bytes[callRecord.waits] = known;
  return bytes;
}

function programSpanBytes(name: Buffer, size = name.length): Buffer {
  const bytes = record(RecordKind.PROGRAM_SPAN, programSpanRecord.size);
  bytes.writeBigUInt64LE(START, programSpanRecord.startNs);
  bytes.writeBigUInt64LE(START + 5n, programSpanRecord.endNs);
  bytes.write(TRACE, programSpanRecord.traceId, 'hex');
  bytes.write('b7ad6b7169203331', programSpanRecord.spanId, 'hex');
  bytes.writeUInt32LE(size, programSpanRecord.nameSize);
  name.copy(bytes, programSpanRecord.name);
  return bytes;
}

function decode(...records: Buffer[]): {
  calls: Call[];
  programSpans: ProgramSpanRecord[];
  processes: ProcessRecord[];
  decoder: Decoder;
} {
  const calls: Call[] = [];
  const programSpans: ProgramSpanRecord[] = [];
  const processes: ProcessRecord[] = [];
  const decoder = new Decoder({
    call: (call) => calls.push(call),
    programSpan: (span) => programSpans.push(span),
    process: (event) => processes.push(event),
    tracer: () => assert.fail('there is none'),
    collector: () => assert.fail('there is none'),
  });
  decoder.decode(Buffer.concat(records));
  return { calls, programSpans, processes, decoder };
}

test('a call record', () => {
  const { calls } = decode(callBytes());
  assert.deepEqual(calls, [
    {
      traceId: TRACE,
      spanId: 'b7ad6b7169203331',
      parentId: '00f067aa0ba902b7',
      parentKind: ParentKind.CALL,
      treeId: '1112131415161718',
      traceFlags: 1,
      source: ContextSource.GO_SDK,
      end: CallEnd.PANICKED,
      depth: 2,
      startNs: START,
      durationNs: 0x1_2345_6789,
      descendants: 3,
      function: 1,
      tgid: 4242,
      tid: 4243,
      stack: 0xc000_0001_2345n,
      goroutineId: 0x1_0000_0007,
      treeSpans: 5,
      treeLost: 6,
      failed: false,
      values: null,
      waits: null,
      waitsKnown: false,
      fold: null,
      incomplete: false,
      unclosed: false,
    },
  ]);
});

const NS_OF = waitsRecord.waits + waitsLayout.ns;

function waitsBytes(spanId: string, waited: Record<number, bigint>): Buffer {
  const bytes = Buffer.alloc(waitsRecord.size);
  bytes.writeUInt32LE(RecordKind.WAITS, recordHeader.kind);
  bytes.writeUInt32LE(waitsRecord.size, recordHeader.sizeField);
  bytes.write(spanId, waitsRecord.spanId, 'hex');
  for (const [kind, ns] of Object.entries(waited)) {
    bytes.writeBigUInt64LE(ns, NS_OF + 8 * Number(kind));
  }
  return bytes;
}

function waitBytes(spanId: string, by: bigint, trace = TRACE): Buffer {
  const bytes = Buffer.alloc(waitRecord.size);
  bytes.writeUInt32LE(RecordKind.WAIT, recordHeader.kind);
  bytes.writeUInt32LE(waitRecord.size, recordHeader.sizeField);
  bytes.write(spanId, waitRecord.spanId, 'hex');
  bytes.writeBigUInt64LE(START + 10n, waitRecord.startNs);
  bytes.writeBigUInt64LE(START + 1_010n, waitRecord.readyNs);
  bytes.writeBigUInt64LE(START + 1_030n, waitRecord.endNs);
  bytes.writeUInt32LE(WaitKind.MUTEX, waitRecord.kind);
  bytes.writeBigUInt64LE(by, waitRecord.waker + waker.goroutineId);
  bytes.write(trace, waitRecord.waker + waker.traceId, 'hex');
  bytes.write('1112131415161718', waitRecord.waker + waker.spanId, 'hex');
  bytes.writeUInt32LE(1, waitRecord.waker + waker.function);
  return bytes;
}

test('what a call waited for comes before it, and belongs to it alone', () => {
  const own = 'b7ad6b7169203331';
  const other = 'aaaaaaaaaaaaaaaa';
  const { calls, decoder } = decode(
    waitBytes(own, 7n),
    waitsBytes(other, { [WaitKind.SLEEP]: 9n }),
    waitsBytes(own, { [WaitKind.MUTEX]: 1_000n, [WaitKind.RUNNABLE]: 20n }),
    callBytes(WaitsKnown.TOLD),
    callBytes(WaitsKnown.NONE),
  );
  assert.equal(decoder.unknown + decoder.truncated, 0);
  const [first, second] = calls;
  assert.equal(second?.waits, null);
  assert.ok(first?.waits);
  const maker = new SpanMaker({
    functions: [undefined, { name: 'main.locker', file: null, line: null, waits: true }],
    clockOffsetNs: 5n,
    resource: () => ({ attributes: {} }),
    overheadPerCallNs: null,
  });
  const span = maker.span({ ...first, traceId: 'ab'.repeat(16), durationNs: 1_500 });
  const times = Object.entries(span.attributes).filter(([name]) => name.includes('.time.'));
  assert.deepEqual(Object.fromEntries(times), {
    'underspan.time.mutex': 1_000,
    'underspan.time.runnable': 20,
    'underspan.time.running': 480,
  });
  const by = { trace: TRACE, span: '1112131415161718' };
  assert.deepEqual(span.events, [
    {
      name: 'underspan.wait',
      timeUnixNano: START + 15n,
      attributes: {
        'underspan.wait.reason': 'mutex',
        'underspan.wait.duration': 1_020,
        'underspan.wait.runnable': 20,
        'underspan.wait.by.goroutine': 7,
        'underspan.wait.by.function': 'main.locker',
        'underspan.wait.by.trace_id': by.trace,
        'underspan.wait.by.span_id': by.span,
      },
    },
  ]);
  assert.deepEqual(span.links, [
    { traceId: by.trace, spanId: by.span, attributes: { 'underspan.wait.reason': 'mutex' } },
  ]);
  // A call that never waited ran; one that nobody looked at says nothing.
  const ran = maker.span({ ...first, waits: null, durationNs: 1_500 });
  assert.equal(ran.attributes['underspan.time.running'], 1_500);
  assert.equal(ran.events, undefined);
});

test('of a call whose waits are not all known nothing is said of where its time went', () => {
  const own = 'b7ad6b7169203331';
  const told = (...before: Buffer[]): boolean | undefined =>
    decode(...before, callBytes(WaitsKnown.TOLD)).calls[0]?.waitsKnown;
  assert.equal(told(waitsBytes(own, {})), true);
  assert.equal(told(), false);
  assert.equal(told(waitBytes(own, 7n)), false);
  assert.equal(decode(callBytes(WaitsKnown.NONE)).calls[0]?.waitsKnown, true);
  const [call] = decode(waitBytes(own, 7n), callBytes(WaitsKnown.UNKNOWN)).calls;
  assert.ok(call?.waits);
  const functions = [undefined, { name: 'main.f', file: null, line: null, waits: true }];
  const resource = (): { attributes: object } => ({ attributes: {} });
  const maker = new SpanMaker({
    ...{ functions, clockOffsetNs: 5n, overheadPerCallNs: null },
    resource: resource as never,
  });
  const { attributes, events } = maker.span(call);
  assert.deepEqual(
    Object.keys(attributes).filter((name) => name.includes('.time.')),
    [],
  );
  assert.equal(events?.length, 1);
});

test('a wait whose end nobody told of has no one to blame', () => {
  const { calls } = decode(waitBytes('b7ad6b7169203331', 0n), callBytes());
  assert.equal(calls[0]?.waits?.told[0]?.waker, null);
});

test('a clock that runs back makes no negative duration', () => {
  const bytes = callBytes();
  bytes.writeBigUInt64LE(START - 1n, callRecord.endNs);
  assert.equal(decode(bytes).calls[0]?.durationNs, 0);
});

test('a span of the program, also with a name that was cut off within a character', () => {
  const cut = Buffer.from('é'.repeat(40)).subarray(1, 65);
  const { programSpans } = decode(
    programSpanBytes(Buffer.from('POST /größe')),
    programSpanBytes(Buffer.from(`x${'é'.repeat(32)}`).subarray(0, 64)),
    programSpanBytes(cut, 4_000_000_000),
  );
  assert.equal(programSpans[0]?.name, 'POST /größe');
  assert.equal(programSpans[0].parentId, null);
  assert.equal(programSpans[0].endNs - programSpans[0].startNs, 5n);
  assert.equal(programSpans[1]?.name, `x${'é'.repeat(31)}`);
  assert.ok((programSpans[2]?.name.length ?? 99) <= 64);
});

test('attributes that a span of the program had', () => {
  const attribute = (name: number, kind: number, fill: (bytes: Buffer) => void): Buffer => {
    const bytes = record(RecordKind.SPAN_ATTRIBUTE, spanAttributeRecord.size);
    bytes.write('b7ad6b7169203331', spanAttributeRecord.spanId, 'hex');
    bytes.writeUInt32LE(name, spanAttributeRecord.name);
    bytes.writeUInt32LE(kind, spanAttributeRecord.kind);
    fill(bytes);
    return bytes;
  };
  const text = (value: string, length = value.length) =>
    attribute(4, 4, (bytes) => {
      bytes.write(value, spanAttributeRecord.text);
      bytes.writeUInt32LE(length, spanAttributeRecord.length);
    });
  const { programSpans } = decode(
    attribute(1, 1, (bytes) => bytes.writeUInt8(1, spanAttributeRecord.number)),
    attribute(2, 2, (bytes) => bytes.writeBigInt64LE(-7n, spanAttributeRecord.number)),
    attribute(3, 3, (bytes) => bytes.writeDoubleLE(1.5, spanAttributeRecord.number)),
    text('before'),
    text('acme'),
    attribute(5, 8, () => undefined),
    programSpanBytes(Buffer.from('POST /')),
    programSpanBytes(Buffer.from('GET /')),
    text('long', 64),
    attribute(0, 4, () => undefined),
    programSpanBytes(Buffer.from('GET /')),
  );
  const [first, second, third] = programSpans.map(({ attributes }) => attributes);
  assert.deepEqual(
    [...(first ?? [])],
    [
      [1, true],
      [2, -7],
      [3, 1.5],
      [4, 'acme'],
    ],
  );
  assert.equal(second, null);
  assert.ok(String(third?.get(4)).length >= 64);
  assert.equal(third?.get(0), true);
});

test('a process event', () => {
  const bytes = record(RecordKind.PROCESS, processRecord.size);
  bytes.writeBigUInt64LE(7n, processRecord.timeNs);
  bytes.writeUInt16LE(1, processRecord.event);
  bytes.writeUInt16LE(11, processRecord.exitCode);
  bytes.writeUInt32LE(43, processRecord.tgid);
  bytes.writeUInt32LE(42, processRecord.parentTgid);
  bytes.writeBigUInt64LE(0x103n, processRecord.file + fileKey.device);
  bytes.writeBigUInt64LE(99n, processRecord.file + fileKey.inode);
  bytes.writeBigUInt64LE(5n, processRecord.file + fileKey.changedNs);
  bytes.writeUInt32LE(1, processRecord.held);
  assert.deepEqual(decode(bytes).processes, [
    {
      timeNs: 7n,
      event: 1,
      tgid: 43,
      parentTgid: 42,
      device: 0x103n,
      inode: 99n,
      changedNs: 5n,
      held: true,
      exitCode: 11,
    },
  ]);
});

test('what cannot be read is counted, and the rest is read', () => {
  const short = record(RecordKind.CALL, callRecord.size - 8);
  const { calls, decoder } = decode(short, record(99, 24), callBytes());
  assert.equal(calls.length, 1);
  assert.equal(decoder.truncated, 1);
  assert.equal(decoder.unknown, 1);
});

test('no bytes at all make it throw', () => {
  const batch = Buffer.concat([callBytes(), programSpanBytes(Buffer.from('x')), callBytes()]);
  for (let size = 0; size <= batch.length; size++) {
    const { decoder, calls } = decode(batch.subarray(0, size));
    const whole = [0, callRecord.size, callRecord.size + programSpanRecord.size, batch.length];
    assert.equal(decoder.truncated, whole.includes(size) ? 0 : 1, `cut at ${size}`);
    assert.ok(calls.length <= 2);
  }
  for (let size = 0; size < 8; size++) {
    const { decoder } = decode(record(RecordKind.CALL, 64).fill(size, 4, 5), callBytes());
    assert.equal(decoder.truncated, 1, `a record of ${size} bytes`);
  }
});

test('an open call, unless its tree makes no spans', () => {
  const bytes = Buffer.alloc(openCall.size);
  bytes.write(TRACE, openCall.traceId, 'hex');
  bytes.write('b7ad6b7169203331', openCall.spanId, 'hex');
  bytes.writeBigUInt64LE(START, openCall.startNs);
  bytes.writeUInt32LE(9, openCall.function);
  bytes[openCall.parentKind] = ParentKind.PROGRAM;
  const inner = Buffer.from(bytes);
  inner.write('00f067aa0ba902b7', openCall.spanId, 'hex');
  const [call, second] = decodeOpenCalls([bytes, inner]);
  assert.equal(call?.spanId, 'b7ad6b7169203331');
  assert.equal(call.treeId, call.spanId);
  assert.deepEqual([second?.spanId, second?.treeId], ['00f067aa0ba902b7', call.spanId]);
  assert.equal(call.startNs, START);
  assert.equal(call.function, 9);
  assert.equal(call.parentKind, ParentKind.PROGRAM);
  bytes[openCall.dropped] = 1;
  assert.deepEqual(decodeOpenCalls([bytes]), []);
  assert.deepEqual(decodeOpenCalls([bytes.subarray(0, 40)]), []);
  inner[openCall.tree] = 7;
  assert.deepEqual(decodeOpenCalls([inner]), [], 'of a tree that is not there');
});

test('a span says what its call was', () => {
  const resource = { attributes: { 'service.name': 'shop' } };
  const maker = new SpanMaker({
    functions: [undefined, { name: 'main.work', file: '/src/main.go', line: 12 }],
    clockOffsetNs: 1_000_000_000_000_000_000n,
    resource: () => resource,
    overheadPerCallNs: 1_500.4,
  });
  const [call] = decode(callBytes()).calls;
  assert.ok(call);
  const span = maker.span(call);
  assert.deepEqual(span, {
    traceId: TRACE,
    spanId: 'b7ad6b7169203331',
    parentSpanId: '00f067aa0ba902b7',
    traceFlags: 1,
    name: 'main.work',
    startTimeUnixNano: START + 1_000_000_000_000_000_000n,
    endTimeUnixNano: START + 1_000_000_000_000_000_000n + 0x1_2345_6789n,
    durationNano: 0x1_2345_6789,
    status: { code: 'error', message: 'unwound by a panic' },
    attributes: {
      'code.function.name': 'main.work',
      'code.file.path': '/src/main.go',
      'code.line.number': 12,
      'process.pid': 4242,
      'thread.id': 4243,
      'underspan.goroutine.id': 0x1_0000_0007,
      'underspan.context.source': 'go.sdk',
      'underspan.overhead': 4_501,
    },
    resource,
    functionIndex: call.function,
  });
  assert.equal(span.resource, resource);
  const root = maker.span({ ...call, parentKind: ParentKind.NONE, end: CallEnd.RETURNED });
  assert.equal(root.parentSpanId, null);
  assert.deepEqual(root.status, { code: 'unset' });
  assert.equal(maker.span({ ...call, incomplete: true }).attributes['underspan.incomplete'], true);
});

test('what is not known makes no attribute', () => {
  const maker = new SpanMaker({
    functions: [],
    clockOffsetNs: 0n,
    resource: () => ({ attributes: {} }),
    overheadPerCallNs: null,
  });
  const [call] = decode(callBytes()).calls;
  assert.ok(call);
  const span = maker.span({ ...call, goroutineId: 0 });
  assert.deepEqual(Object.keys(span.attributes), [
    'code.function.name',
    'process.pid',
    'thread.id',
    'underspan.context.source',
  ]);
});

test('sampling thresholds are those of the specification', () => {
  assert.equal(sampleThreshold(1), 0n);
  assert.equal(sampleThreshold(0), 1n << 56n);
  assert.equal(sampleThreshold(0.5), 1n << 55n);
  assert.equal(sampleThreshold(0.25), 3n << 54n);
  assert.equal(sampleThreshold(1e-30), (1n << 56n) - 1n);
  // th:e6666666666668 in the specification's table of probabilities.
  assert.equal(sampleThreshold(0.1).toString(16).slice(0, 10), 'e666666666');
});

/** The kernel's bucket of a duration, as bpf/statistics.bpf.h computes it. */
function bucketOf(ns: number): number {
  const octave = Math.floor(Math.log2(ns));
  if (octave < 6) return 0;
  const mantissa = ns / 2 ** octave;
  const sub = [1.1892071150027210667, Math.SQRT2, 1.6817928305074290861].filter(
    (step) => mantissa >= step,
  ).length;
  return Math.min(HISTOGRAM_BUCKETS - 1, 4 * (octave - 6) + sub);
}

test('quantiles are within 10 % and between the extremes', () => {
  for (let exponent = 6; exponent < 37; exponent += 0.01) {
    const ns = 2 ** exponent;
    const histogram = new Array<number>(HISTOGRAM_BUCKETS).fill(0);
    histogram[bucketOf(ns)] = 10;
    const found = quantile(histogram, 0.5, 0, 1e15);
    assert.ok(Math.abs(found - ns) / ns < 0.1, `${ns}: ${found}`);
    assert.equal(quantile(histogram, 0.99, ns, ns), ns);
  }
  const histogram = new Array<number>(HISTOGRAM_BUCKETS).fill(0);
  assert.equal(quantile(histogram, 0.5, 0, 0), 0);
  histogram[bucketOf(1_000)] = 98;
  histogram[bucketOf(1_000_000)] = 2;
  assert.ok(Math.abs(quantile(histogram, 0.5, 900, 1_100_000) - 1_000) < 100);
  assert.ok(Math.abs(quantile(histogram, 0.98, 900, 1_100_000) - 1_000) < 100);
  assert.ok(Math.abs(quantile(histogram, 0.99, 900, 1_100_000) - 1_000_000) < 100_000);
  histogram[HISTOGRAM_BUCKETS - 1] = 1_000;
  assert.equal(quantile(histogram, 0.99, 900, 9e12), 9e12);
});
