/** Spans to protobuf, by the OpenTelemetry packages. */
import { ProtobufTraceSerializer } from '@opentelemetry/otlp-transformer';
import { type Resource, resourceFromAttributes } from '@opentelemetry/resources';
import type { ReadableSpan } from '@opentelemetry/sdk-trace-base';
import type { FunctionSpan, ProcessResource } from '../spans/span.js';
import type { EncodedBatch, ExportResult } from './otlp-wire.js';

/** As SpanKind and SpanStatusCode of @opentelemetry/api number them. */
const INTERNAL = 0;
const STATUS = { unset: 0, ok: 1, error: 2 } as const;

export function spanEncoder(version: string): (spans: readonly FunctionSpan[]) => EncodedBatch {
  const scope = { name: 'underspan', version };
  const known = new WeakMap<ProcessResource, Resource>();
  // The encoder groups spans by the identity of their resource.
  const resourceOf = (resource: ProcessResource): Resource => {
    let made = known.get(resource);
    if (!made) {
      made = resourceFromAttributes(resource.attributes);
      known.set(resource, made);
    }
    return made;
  };
  return (spans) => {
    const readable = spans.map((span) => readableSpan(span, resourceOf(span.resource), scope));
    return ProtobufTraceSerializer.serializeRequest(readable) ?? new Uint8Array();
  };
}

/** What the answer to a request that succeeded says. */
export function readResponse(response: Uint8Array | undefined): ExportResult {
  try {
    const partial =
      response && ProtobufTraceSerializer.deserializeResponse(response).partialSuccess;
    return {
      kind: 'delivered',
      rejected: Math.max(0, Number(partial?.rejectedSpans ?? 0)),
      message: partial?.errorMessage ?? '',
    };
  } catch {
    // The call succeeded; an answer that cannot be read says nothing against it.
    return { kind: 'delivered', rejected: 0, message: '' };
  }
}

const SECOND = 1_000_000_000n;

function hrTime(ns: bigint): [number, number] {
  return [Number(ns / SECOND), Number(ns % SECOND)];
}

/** A plain object that satisfies ReadableSpan. */
function readableSpan(
  span: FunctionSpan,
  resource: Resource,
  instrumentationScope: { name: string; version: string },
): ReadableSpan {
  const { traceId, traceFlags } = span;
  const context = { traceId, spanId: span.spanId, traceFlags };
  const status = { code: STATUS[span.status.code] };
  return {
    name: span.name,
    kind: INTERNAL,
    spanContext: () => context,
    ...(span.parentSpanId === null
      ? {}
      : { parentSpanContext: { traceId, spanId: span.parentSpanId, traceFlags } }),
    startTime: hrTime(span.startTimeUnixNano),
    endTime: hrTime(span.endTimeUnixNano),
    duration: hrTime(BigInt(span.durationNano)),
    status:
      span.status.message === undefined ? status : { ...status, message: span.status.message },
    attributes: span.attributes,
    links: [],
    events: [],
    ended: true,
    resource,
    instrumentationScope,
    droppedAttributesCount: 0,
    droppedEventsCount: 0,
    droppedLinksCount: 0,
  };
}
