/** What the way to a collector has to say to a reader. */
import type { Notice } from './sink.js';

export const NOTICES = {
  configuration: (error: unknown): Notice => ({
    code: 'otlp-configuration',
    message: `OTLP export is not possible: ${messageOf(error)}`,
    hint: 'check --otlp-endpoint and the OTEL_EXPORTER_OTLP_* variables',
  }),
  unreachable: (endpoint: string, message: string, spooled: boolean): Notice => ({
    code: 'otlp-unreachable',
    message: `no answer from the collector at ${endpoint}: ${message}`,
    hint: `spans are kept and sent again as far as they fit the ${spooled ? 'spool' : 'queue'}; the endpoint must speak OTLP by the protocol that is set (grpc, usually on port 4317, or http/protobuf, on 4318), without TLS only if written with http://`,
  }),
  back: (): Notice => ({ code: 'otlp-back', message: 'the collector answers again' }),
  refused: (message: string): Notice => ({
    code: 'otlp-refused',
    message: `the collector refuses spans: ${message || 'it does not say why'}`,
    hint: 'they are counted as lost (export); the collector has more in its own log',
  }),
  queueFull: (): Notice => ({
    code: 'otlp-queue-full',
    message: 'the queue to the collector is full: spans are being dropped, and counted',
    hint: 'trace fewer functions, or sample (--sample, --max-rate)',
  }),
  spoolFull: (directory: string): Notice => ({
    code: 'otlp-spool-full',
    message: `the spool in ${directory} is full: what does not fit the queue is dropped, and counted`,
    hint: 'give it more room (spool.maxBytes), or find out why the collector does not answer',
  }),
  spoolFailed: (directory: string, error: unknown): Notice => ({
    code: 'otlp-spool-failed',
    message: `the spool in ${directory} cannot be written: ${messageOf(error)}`,
    hint: 'spans wait in the queue meanwhile; it is tried again',
  }),
  spoolUnavailable: (error: unknown): Notice => ({
    code: 'otlp-spool-unavailable',
    message: `no spool: ${messageOf(error)}`,
    hint: 'spans wait in the queue alone; it is tried again',
  }),
};

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
