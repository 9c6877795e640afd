import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { test } from 'node:test';
import { JsonSink } from '../../src/sinks/json.js';
import type { FunctionSpan } from '../../src/spans/span.js';

const span: FunctionSpan = {
  traceId: '0af7651916cd43dd8448eb211c80319c',
  spanId: 'b7ad6b7169203331',
  parentSpanId: null,
  traceFlags: 1,
  name: 'main."quoted"\n',
  startTimeUnixNano: 1_700_000_000_123_456_789n,
  endTimeUnixNano: 1_700_000_000_123_457_789n,
  durationNano: 1_000,
  status: { code: 'error', message: 'unwound by a panic' },
  attributes: { 'thread.id': 9 },
  resource: { attributes: { 'service.name': 'shop' } },
  functionIndex: 1,
};
const summary = {
  functions: [],
  lost: { tooShort: 1 },
  contexts: { unreadable: 0, truncated: 0 },
  valuesLost: 0,
  waitsLost: 0,
  allocations: null,
  suspensions: 0,
  overhead: { predicted: null, measured: 0.1 },
};

function collecting(): { stream: Writable; lines: () => unknown[] } {
  let text = '';
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done): void {
      text += chunk.toString();
      done();
    },
  });
  return {
    stream,
    lines: () =>
      text
        .trimEnd()
        .split('\n')
        .map((line): unknown => JSON.parse(line)),
  };
}

test('span, notice and summary, one object a line', async () => {
  const { stream, lines } = collecting();
  const sink = new JsonSink(stream);
  sink.spans([span]);
  sink.notice({ code: 'x', message: 'y' });
  await sink.close(summary);
  assert.deepEqual(lines(), [
    {
      type: 'span',
      traceId: span.traceId,
      spanId: span.spanId,
      parentSpanId: null,
      name: span.name,
      startTimeUnixNano: '1700000000123456789',
      endTimeUnixNano: '1700000000123457789',
      durationNano: 1_000,
      status: { code: 'error', message: 'unwound by a panic' },
      attributes: { 'thread.id': 9 },
      resource: { 'service.name': 'shop' },
    },
    { type: 'notice', code: 'x', message: 'y' },
    { type: 'summary', ...summary },
  ]);
});

test('a reader that does not read costs whole trees, counted, and no memory', async () => {
  let release: (() => void) | undefined;
  let text = '';
  const stream = new Writable({
    highWaterMark: 1_024,
    write(chunk: Buffer, _encoding, done): void {
      text += chunk.toString();
      release = done;
    },
  });
  const sink = new JsonSink(stream, { maxBytes: 20_000 });
  for (let tree = 0; tree < 100; tree++) sink.spans([span, span]);
  await sink.flush(20);
  const lost = sink.lost()['output'] ?? 0;
  assert.ok(lost > 100 && lost < 200 && lost % 2 === 0, `${lost}`);
  const closing = sink.close(summary);
  while (!text.includes('"summary"')) {
    release?.();
    await new Promise((resolve) => setImmediate(resolve));
  }
  release?.();
  await closing;
  assert.equal(text.trimEnd().split('\n').length, 200 - lost + 1);
});

test('a reader that goes away is told once and ends nothing', async () => {
  let closed = 0;
  const stream = new Writable({
    write(_chunk, _encoding, done): void {
      done(Object.assign(new Error('EPIPE'), { code: 'EPIPE' }));
    },
  });
  const sink = new JsonSink(stream, { onClosed: () => closed++ });
  sink.spans([span]);
  await sink.flush(1_000);
  sink.spans([span]);
  await sink.close(summary);
  assert.equal(closed, 1);
  assert.equal(sink.lost()['output'], 1);
});
