/**
 * One export over OTLP/gRPC: configuration and encoding by the OpenTelemetry packages, the call
 * by gRPC itself. Their exporter hides what decides the next step: it reports a partial success
 * as success, and lets gRPC wait up to two minutes before it connects again.
 */
import type { Client, ClientOptions, Metadata, ServiceError } from '@grpc/grpc-js';
import type { Resource } from '@opentelemetry/resources';
import type { ReadableSpan } from '@opentelemetry/sdk-trace-base';
import type { FunctionSpan, ProcessResource } from '../spans/span.js';
import { isRetryable, retryDelayMs, STATUS_DETAILS } from './otlp-retry.js';

export type ExportResult =
  | { kind: 'delivered'; rejected: number; message: string }
  /** Try again, after `delayMs` if the server said so. */
  | { kind: 'retry'; delayMs: number | null; message: string }
  | { kind: 'refused'; message: string };

/** A serialised ExportTraceServiceRequest. */
export type EncodedBatch = Uint8Array;

export interface OtlpWire {
  /** Where to, as a person would write it. */
  readonly endpoint: string;
  encode(spans: readonly FunctionSpan[]): EncodedBatch;
  send(batch: EncodedBatch): Promise<ExportResult>;
  close(): void;
}

const METHOD = '/opentelemetry.proto.collector.trace.v1.TraceService/Export';
const COMPRESSION = { none: 0, gzip: 2 };
/** As SpanKind and SpanStatusCode of @opentelemetry/api number them. */
const INTERNAL = 0;
const STATUS = { unset: 0, ok: 1, error: 2 } as const;

/** Loads the OpenTelemetry packages, which takes about half a second, so only where needed. */
export async function openWire(endpoint: string | null, version: string): Promise<OtlpWire> {
  const [grpc, base, transformer, resources] = await Promise.all([
    import('@grpc/grpc-js'),
    import('@opentelemetry/otlp-grpc-exporter-base'),
    import('@opentelemetry/otlp-transformer'),
    import('@opentelemetry/resources'),
  ]);
  const config = base.convertLegacyOtlpGrpcOptions(
    endpoint === null ? {} : { url: endpoint },
    'TRACES',
  );
  const options: ClientOptions = {
    'grpc.default_compression_algorithm': COMPRESSION[config.compression],
    'grpc.primary_user_agent': `underspan/${version}`,
    // A collector that returns is found again within seconds.
    'grpc.initial_reconnect_backoff_ms': 500,
    'grpc.max_reconnect_backoff_ms': 1_000,
  };
  const client: Client = new grpc.Client(config.url, config.credentials(), options);
  const metadata: Metadata = config.metadata();
  const scope = { name: 'underspan', version };
  const known = new WeakMap<ProcessResource, Resource>();
  // The encoder groups spans by the identity of their resource.
  const resourceOf = (resource: ProcessResource): Resource => {
    let made = known.get(resource);
    if (!made) {
      made = resources.resourceFromAttributes(resource.attributes);
      known.set(resource, made);
    }
    return made;
  };
  const identity = (bytes: Buffer): Buffer => bytes;

  return {
    endpoint: config.url,
    encode(spans) {
      const readable = spans.map((span) => readableSpan(span, resourceOf(span.resource), scope));
      return transformer.ProtobufTraceSerializer.serializeRequest(readable) ?? new Uint8Array();
    },
    send(batch) {
      const message = Buffer.from(batch.buffer, batch.byteOffset, batch.byteLength);
      const deadline = Date.now() + config.timeoutMillis;
      return new Promise((resolve) => {
        client.makeUnaryRequest(
          METHOD,
          identity,
          identity,
          message,
          metadata,
          { deadline },
          (error: ServiceError | null, response?: Buffer) => {
            if (error) return resolve(failure(error));
            resolve(success(transformer.ProtobufTraceSerializer, response));
          },
        );
      });
    },
    close: () => client.close(),
  };
}

interface ResponseReader {
  deserializeResponse(data: Uint8Array): {
    partialSuccess?: { rejectedSpans?: number; errorMessage?: string };
  };
}

function success(reader: ResponseReader, response: Buffer | undefined): ExportResult {
  try {
    const partial = response && reader.deserializeResponse(response).partialSuccess;
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

function failure(error: ServiceError): ExportResult {
  const details: unknown = error.metadata?.get(STATUS_DETAILS)[0];
  const delayMs = Buffer.isBuffer(details) ? retryDelayMs(details) : null;
  const message = (error.details || error.message).replace(/\s*Resolution note:\s*$/, '');
  return isRetryable(error.code, delayMs)
    ? { kind: 'retry', delayMs, message }
    : { kind: 'refused', message };
}

const SECOND = 1_000_000_000n;

function hrTime(ns: bigint): [number, number] {
  return [Number(ns / SECOND), Number(ns % SECOND)];
}

/** A plain object that satisfies ReadableSpan. */
export function readableSpan(
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
