/**
 * OTLP/gRPC: configuration by the OpenTelemetry packages, the call by gRPC itself.
 * Their exporter hides what decides the next step: it reports a partial success as success, and
 * lets gRPC wait up to two minutes before it connects again.
 */
import { Client, type ClientOptions, type Metadata, type ServiceError } from '@grpc/grpc-js';
import { convertLegacyOtlpGrpcOptions } from '@opentelemetry/otlp-grpc-exporter-base';
import { readResponse, spanEncoder } from './otlp-encode.js';
import { gaveUpWaiting, isRetryable, retryDelayMs, STATUS_DETAILS } from './otlp-retry.js';
import type { ExportResult, OtlpWire, WireOptions } from './otlp-wire.js';

const METHOD = '/opentelemetry.proto.collector.trace.v1.TraceService/Export';
const COMPRESSION = { none: 0, gzip: 2 };

export function openGrpcWire({ endpoint, version }: WireOptions): OtlpWire {
  const config = convertLegacyOtlpGrpcOptions(endpoint === null ? {} : { url: endpoint }, 'TRACES');
  const options: ClientOptions = {
    'grpc.default_compression_algorithm': COMPRESSION[config.compression],
    'grpc.primary_user_agent': `underspan/${version}`,
    // A collector that returns is found again within seconds.
    'grpc.initial_reconnect_backoff_ms': 500,
    'grpc.max_reconnect_backoff_ms': 1_000,
  };
  const client = new Client(config.url, config.credentials(), options);
  const target = client.getChannel().getTarget();
  const metadata: Metadata = config.metadata();
  const identity = (bytes: Buffer): Buffer => bytes;

  return {
    endpoint: config.url,
    encode: spanEncoder(version),
    send(batch) {
      const message = Buffer.from(batch.buffer, batch.byteOffset, batch.byteLength);
      const deadline = Date.now() + config.timeoutMillis;
      return new Promise((resolve) => {
        let answered = false;
        const call = client.makeUnaryRequest(
          METHOD,
          identity,
          identity,
          message,
          metadata,
          { deadline },
          (error: ServiceError | null, response?: Buffer) => {
            if (!error) return resolve(readResponse(response));
            // Until a connection takes the call, its peer is not known.
            const peer = call.getPeer();
            const sent = peer !== target && peer !== 'unknown';
            const known = (answered || isAnswer(error)) && !gaveUpWaiting(error.code);
            resolve(failure(error, sent && !known));
          },
        );
        call.on('metadata', () => (answered = true));
      });
    },
    close: () => client.close(),
  };
}

/** gRPC makes up a status where none came; one that a server sent has a content type. */
function isAnswer(error: ServiceError): boolean {
  return (error.metadata?.get('content-type').length ?? 0) > 0;
}

function failure(error: ServiceError, uncertain: boolean): ExportResult {
  const details: unknown = error.metadata?.get(STATUS_DETAILS)[0];
  const delayMs = Buffer.isBuffer(details) ? retryDelayMs(details) : null;
  const message = (error.details || error.message).replace(/\s*Resolution note:\s*$/, '');
  return isRetryable(error.code, delayMs)
    ? { kind: 'retry', delayMs, uncertain, message }
    : { kind: 'refused', message };
}
