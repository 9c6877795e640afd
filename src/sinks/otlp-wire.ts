/** One export over OTLP, whatever carries it. */
import type { FunctionSpan } from '../spans/span.js';
import type { OtlpProtocol } from './otlp-environment.js';

export type ExportResult =
  | { kind: 'delivered'; rejected: number; message: string }
  /**
   * Try again, after `delayMs` if the server said so. `uncertain`: it may have been taken all the
   * same, since no answer came that says otherwise.
   */
  | { kind: 'retry'; delayMs: number | null; uncertain: boolean; message: string }
  | { kind: 'refused'; message: string };

/** A serialised ExportTraceServiceRequest. */
export type EncodedBatch = Uint8Array;

export interface OtlpWire {
  /** Where to, as a person would write it. */
  readonly endpoint: string;
  encode(spans: readonly FunctionSpan[]): EncodedBatch;
  /** Never rejects. */
  send(batch: EncodedBatch): Promise<ExportResult>;
  close(): void;
}

export interface WireOptions {
  /** null: as OTEL_EXPORTER_OTLP_* say. */
  endpoint: string | null;
  version: string;
}

/** Loads the OpenTelemetry packages, which takes about half a second, so only where needed. */
export async function openWire(protocol: OtlpProtocol, options: WireOptions): Promise<OtlpWire> {
  if (protocol === 'grpc') return (await import('./otlp-grpc.js')).openGrpcWire(options);
  return (await import('./otlp-http.js')).openHttpWire(options);
}
