import type { Notice } from './sink.js';
import type { SpoolOptions } from './spool.js';

export interface OtlpOptions {
  /** null: as OTEL_EXPORTER_OTLP_* say. */
  endpoint: string | null;
  /** grpc or http/protobuf; null: as OTEL_EXPORTER_OTLP_* say, else grpc. */
  protocol?: string | null;
  /** Of underspan, for the scope. */
  version: string;
  onNotice: (notice: Notice) => void;
  /** What waits in memory or is under way from there. */
  maxBytes?: number;
  /** null: what does not fit the queue is dropped. */
  spool?: SpoolOptions | null;
  /** How long few spans wait for more. */
  delayMs?: number;
  /** A batch that could not be delivered for so long is given up, unless there is a spool. */
  maxRetryMs?: number;
  /**
   * Without a spool the deadline of flush() counts anew from every answer, so that a slow endpoint
   * is not cut off.
   */
  patient?: boolean;
}

export const OTLP_DEFAULTS = {
  maxBytes: 64 * 1024 * 1024,
  delayMs: 500,
  maxRetryMs: 300_000,
};
