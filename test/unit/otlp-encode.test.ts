/** Our encoder against that of the OpenTelemetry packages. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ProtobufTraceSerializer } from '@opentelemetry/otlp-transformer';
import { resourceFromAttributes } from '@opentelemetry/resources';
import type { ReadableSpan } from '@opentelemetry/sdk-trace-base';
import { spanEncoder } from '../../src/sinks/otlp-encode.js';
import { sizeOfResource, sizeOfTree } from '../../src/sinks/otlp-size.js';
import type { FunctionSpan, ProcessResource } from '../../src/spans/span.js';
import { decodeTraces } from '../tools/otlp.js';
import { spanOf } from '../tools/otlp-sink.js';

const VERSION = '1.2.3';
const STATUS = { unset: 0, ok: 1, error: 2 };
const hrTime = (ns: bigint): [number, number] => [
  Number(ns / 1_000_000_000n),
  Number(ns % 1_000_000_000n),
];

function byPackages(spans: readonly FunctionSpan[]): Uint8Array {
  const instrumentationScope = { name: 'underspan', version: VERSION };
  const resources = new Map<ProcessResource, ReadableSpan['resource']>();
  const readable = spans.map((span): ReadableSpan => {
    const { traceId, traceFlags, parentSpanId } = span;
    const resource =
      resources.get(span.resource) ?? resourceFromAttributes(span.resource.attributes);
    resources.set(span.resource, resource);
    return {
      name: span.name,
      kind: 0,
      spanContext: () => ({ traceId, spanId: span.spanId, traceFlags }),
      ...(parentSpanId === null
        ? {}
        : { parentSpanContext: { traceId, spanId: parentSpanId, traceFlags } }),
      startTime: hrTime(span.startTimeUnixNano),
      endTime: hrTime(span.endTimeUnixNano),
      duration: hrTime(BigInt(span.durationNano)),
      status: {
        code: STATUS[span.status.code],
        ...(span.status.message === undefined ? {} : { message: span.status.message }),
      },
      attributes: span.attributes,
      links: (span.links ?? []).map(({ traceId, spanId, attributes }) => ({
        context: { traceId, spanId, traceFlags: 1 },
        attributes,
      })),
      events: (span.events ?? []).map(({ name, timeUnixNano, attributes }) => ({
        name,
        time: hrTime(timeUnixNano),
        attributes,
      })),
      ended: true,
      resource,
      instrumentationScope,
      droppedAttributesCount: 0,
      droppedEventsCount: 0,
      droppedLinksCount: 0,
    };
  });
  return ProtobufTraceSerializer.serializeRequest(readable) ?? new Uint8Array();
}

function sameAsByPackages(spans: readonly FunctionSpan[]): void {
  const encoded = spanEncoder(VERSION)(spans);
  assert.deepEqual(decodeTraces(encoded), decodeTraces(byPackages(spans)));
}

test('values of every kind and size', () => {
  const texts = ['', 'a', 'naïve ☃ 🚀', 'x'.repeat(127), 'ü'.repeat(64), 'y'.repeat(300), '\ud800'];
  texts.push('z'.repeat(20_000), 'z'.repeat(2_100_000));
  const numbers = [0, -0, 1, 127, 128, 300, 2 ** 31, 2 ** 32 + 5, 2 ** 53 - 1, 2 ** 53, 2 ** 62];
  numbers.push(-1, -300, -(2 ** 40), -(2 ** 63), 2 ** 63, 0.5, -1e300, NaN, Infinity);
  const all = [...texts, ...numbers, true, false];
  sameAsByPackages(all.map((value) => spanOf({ attributes: { 'underspan.arg.x': value } })));
  sameAsByPackages(texts.map((name) => spanOf({ name, attributes: { [`key ${name}`]: name } })));
});

test('roots, statuses, flags and times', () => {
  sameAsByPackages([
    spanOf({ parentSpanId: null }),
    spanOf({ traceId: 'FFEEDDCCBBAA99887766554433221100', traceFlags: 0 }),
    spanOf({ traceFlags: 255, attributes: {} }),
    spanOf({ status: { code: 'ok' } }),
    spanOf({ status: { code: 'error' } }),
    spanOf({ status: { code: 'error', message: 'panic: '.repeat(40) } }),
    spanOf({ startTimeUnixNano: 0n, endTimeUnixNano: 2n ** 63n - 1n }),
  ]);
});

test('events and links', () => {
  const attributes = { 'underspan.wait.reason': 'mutex', 'underspan.wait.duration': 640_000_000 };
  const link = { traceId: 'ab'.repeat(16), spanId: 'cd'.repeat(8), attributes };
  const event = { name: 'underspan.wait', timeUnixNano: 1n << 60n, attributes };
  const many = Array.from({ length: 300 }, () => event);
  const spans = [
    spanOf({ events: [event], links: [link] }),
    spanOf({ events: many, links: [link, { ...link, attributes: {} }] }),
  ];
  sameAsByPackages(spans);
  assert.equal(decodeTraces(spanEncoder(VERSION)(spans))[1]?.events.length, 300);
  assert.ok(sizeOfTree(spans) >= spanEncoder(VERSION)(spans).length - 200);
});

test('each process has its resource, and its spans in their order', () => {
  const resources: ProcessResource[] = [
    { attributes: { 'service.name': 'shop', 'process.command_args': ['a', 'b'], ratio: 0.5 } },
    {
      attributes: { 'service.name': 'shop', on: [true, false], 'process.pid': 7, counts: [1, -2] },
    },
    { attributes: {} },
  ];
  const spans = Array.from({ length: 100 }, (_, index) =>
    spanOf({ resource: resources[(index * index) % 3] ?? { attributes: {} } }),
  );
  sameAsByPackages(spans);
  sameAsByPackages([]);
});

test('an encoder is used again, also after a larger batch and for more texts than it keeps', () => {
  const encode = spanEncoder(VERSION);
  for (const count of [3, 3_000, 2]) {
    const spans = Array.from({ length: count }, (_, index) =>
      spanOf({ name: `main.f${index}`, attributes: { text: `value ${index * count}` } }),
    );
    const encoded = encode(spans);
    assert.deepEqual(decodeTraces(encoded), decodeTraces(byPackages(spans)));
    // Two bytes are what a nested message's length is given before it is known.
    assert.ok(encoded.length <= sizeOfTree(spans) + sizeOfResource(spans[0]!.resource));
  }
});
