import assert from 'node:assert/strict';
import { test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { SpanKind, SpanStatusCode, TraceFlags } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-grpc';
import { resourceFromAttributes } from '@opentelemetry/resources';
import type { ReadableSpan } from '@opentelemetry/sdk-trace-base';
import { renderTrace } from '../tools/merged-tree.js';
import { decodeTraces, type OtlpSpan } from '../tools/otlp.js';
import { Receiver, type Answer } from '../tools/receiver.js';

const traceId = '0af7651916cd43dd8448eb211c80319c';

const readable: ReadableSpan = {
  name: 'main.pay',
  kind: SpanKind.INTERNAL,
  spanContext: () => ({ traceId, spanId: 'b7ad6b7169203331', traceFlags: TraceFlags.SAMPLED }),
  parentSpanContext: { traceId, spanId: '00f067aa0ba902b7', traceFlags: TraceFlags.SAMPLED },
  startTime: [1_700_000_000, 123_456_789],
  endTime: [1_700_000_001, 1],
  status: { code: SpanStatusCode.ERROR, message: 'declined' },
  attributes: { text: 'é', whole: -7, large: 2 ** 40, part: 0.5, yes: true, list: ['a', 'b'] },
  links: [],
  events: [],
  duration: [0, 876_543_212],
  ended: true,
  resource: resourceFromAttributes({ 'service.name': 'shop' }),
  instrumentationScope: { name: 'underspan', version: '1.2.3' },
  droppedAttributesCount: 0,
  droppedEventsCount: 0,
  droppedLinksCount: 0,
};

async function send(answer?: () => Answer): Promise<{ spans: OtlpSpan[]; code: number }> {
  const receiver = await Receiver.start(answer ? { answer } : {});
  const exporter = new OTLPTraceExporter({ url: receiver.endpoint, timeoutMillis: 5000 });
  try {
    const code = await new Promise<number>((resolve) =>
      exporter.export([readable], (result) => resolve(result.code)),
    );
    return { spans: receiver.spans, code };
  } finally {
    await exporter.shutdown();
    receiver.stop();
  }
}

test('what the exporter sends is what the receiver has', async () => {
  const { spans, code } = await send();
  assert.equal(code, 0);
  assert.equal(spans.length, 1);
  const [span] = spans;
  assert.ok(span);
  assert.equal(span.flags & 1, 1);
  assert.deepEqual(
    { ...span, flags: 1 },
    {
      traceId,
      spanId: 'b7ad6b7169203331',
      parentSpanId: '00f067aa0ba902b7',
      flags: 1,
      name: 'main.pay',
      kind: 1,
      startTimeUnixNano: 1_700_000_000_123_456_789n,
      endTimeUnixNano: 1_700_000_001_000_000_001n,
      attributes: { text: 'é', whole: -7, large: 2 ** 40, part: 0.5, yes: true, list: ['a', 'b'] },
      status: { code: 2, message: 'declined' },
      scope: { name: 'underspan', version: '1.2.3' },
      resource: { 'service.name': 'shop' },
    },
  );
});

test('a request can be refused', async () => {
  const { spans, code } = await send(() => ({
    accept: false,
    code: status.INVALID_ARGUMENT,
    message: 'not today',
  }));
  assert.deepEqual([spans.length, code], [0, 1]);
});

test('a message that is cut short or broken is an error', () => {
  const span = [0x0a, 0x06, 0x12, 0x04, 0x12, 0x02, 0x2a, 0x00];
  assert.equal(decodeTraces(Uint8Array.from(span)).length, 1);
  for (let size = 1; size < span.length; size++)
    assert.throws(() => decodeTraces(Uint8Array.from(span.slice(0, size))), /cut short/);
  assert.throws(() => decodeTraces(Uint8Array.from([0x0b])), /wire type 3/);
  assert.throws(() => decodeTraces(Uint8Array.from(Array<number>(12).fill(0xff))), /without end/);
});

test('a trace is shown as one tree, our spans marked', () => {
  const span = (
    spanId: string,
    parentSpanId: string | null,
    ms: number,
    scope: string,
  ): OtlpSpan => ({
    traceId,
    spanId,
    parentSpanId,
    flags: 1,
    name: spanId,
    kind: 1,
    startTimeUnixNano: BigInt(spanId.charCodeAt(0)),
    endTimeUnixNano: BigInt(spanId.charCodeAt(0) + ms * 1_000_000),
    attributes: {},
    events: [],
    links: [],
    status: { code: spanId === 'c' ? 2 : 0, message: '' },
    scope: { name: scope, version: '' },
    resource: {},
  });
  const spans = [
    span('d', 'a', 1, 'underspan'),
    span('c', 'b', 1, 'shop'),
    span('b', 'a', 2, 'underspan'),
    span('a', null, 5, 'shop'),
  ];
  assert.deepEqual(renderTrace(spans, { colour: false }), [
    '● a            5.000 ms',
    '├─ ƒ b         2.000 ms',
    '│  └─ ● c      1.000 ms  error: panicked',
    '└─ ƒ d         1.000 ms',
  ]);
});
