/** What the OTLP specification says about failed exports. */

/** By number, so that nothing of gRPC need be loaded to read them. */
const Status = {
  CANCELLED: 1,
  DEADLINE_EXCEEDED: 4,
  RESOURCE_EXHAUSTED: 8,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
} as const;

const RETRYABLE = new Set<number>([
  Status.CANCELLED,
  Status.DEADLINE_EXCEEDED,
  Status.ABORTED,
  Status.OUT_OF_RANGE,
  Status.UNAVAILABLE,
  Status.DATA_LOSS,
]);

/** Key of the gRPC trailer that holds a serialised google.rpc.Status. */
export const STATUS_DETAILS = 'grpc-status-details-bin';

const TOO_MANY_REQUESTS = 429;
const BAD_GATEWAY = 502;
const SERVICE_UNAVAILABLE = 503;
const GATEWAY_TIMEOUT = 504;

const RETRYABLE_HTTP = new Set<number>([
  TOO_MANY_REQUESTS,
  BAD_GATEWAY,
  SERVICE_UNAVAILABLE,
  GATEWAY_TIMEOUT,
]);

/** No server is believed that wants a longer pause. */
const LONGEST_DELAY_MS = 3_600_000;

const BACKOFF = { firstMs: 250, lastMs: 5_000 };

/** Whether to try again; RESOURCE_EXHAUSTED only if the server says that it will recover. */
export function isRetryable(code: number, retryInfoMs: number | null): boolean {
  return RETRYABLE.has(code) || (code === Status.RESOURCE_EXHAUSTED && retryInfoMs !== null);
}

export function isRetryableHttp(code: number): boolean {
  return RETRYABLE_HTTP.has(code);
}

/** A server that says so gave up waiting, and what it waited for may go on. */
export function gaveUpWaiting(code: number): boolean {
  return code === Status.DEADLINE_EXCEEDED || code === Status.CANCELLED;
}

/** A gateway that has no answer for us does not know what its server did. */
export function mayHaveArrived(code: number): boolean {
  return code === BAD_GATEWAY || code === GATEWAY_TIMEOUT;
}

/** Of the header Retry-After: seconds or a date; null if it says neither. */
export function retryAfterMs(header: string | undefined, now: number): number | null {
  if (header === undefined) return null;
  const text = header.trim();
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - now;
  return Number.isNaN(ms) ? null : bounded(ms);
}

function bounded(ms: number): number {
  return Math.min(Math.max(0, ms), LONGEST_DELAY_MS);
}

/** Exponential, with "equal jitter": between half and the whole of the step. */
export function backoffMs(failures: number, random: () => number = Math.random): number {
  const step = Math.min(BACKOFF.lastMs, BACKOFF.firstMs * 2 ** Math.min(failures - 1, 20));
  return step * (0.5 + random() / 2);
}

/**
 * The delay of the google.rpc.RetryInfo in a google.rpc.Status, in ms; null if it has none. By
 * hand: a schema for three fields would be one more dependency. A server's bytes are untrusted.
 */
export function retryDelayMs(status: Uint8Array): number | null {
  for (const detail of fields(status)) {
    if (detail.number !== 3 || !detail.bytes) continue;
    let type = '';
    let value: Uint8Array | null = null;
    for (const field of fields(detail.bytes)) {
      if (field.number === 1 && field.bytes) type = Buffer.from(field.bytes).toString('latin1');
      if (field.number === 2 && field.bytes) value = field.bytes;
    }
    if (!type.endsWith('/google.rpc.RetryInfo') || !value) continue;
    const delay = fields(value).find((field) => field.number === 1)?.bytes;
    if (!delay) return 0;
    let ms = 0;
    for (const field of fields(delay)) {
      if (field.number === 1) ms += field.integer * 1000;
      if (field.number === 2) ms += field.integer / 1e6;
    }
    return bounded(ms);
  }
  return null;
}

/** The text of a google.rpc.Status. */
export function statusMessage(status: Uint8Array): string {
  const message = fields(status).find((field) => field.number === 2)?.bytes;
  return message ? Buffer.from(message).toString('utf8') : '';
}

interface Field {
  number: number;
  integer: number;
  bytes: Uint8Array | null;
}

/** The fields of a protobuf message, up to the first thing that makes no sense. */
function fields(message: Uint8Array): Field[] {
  const found: Field[] = [];
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; shift < 10; shift++) {
      const byte = message[at++];
      if (byte === undefined) return NaN;
      value += (byte & 0x7f) * 2 ** (7 * shift);
      if (byte < 0x80) return value;
    }
    return NaN;
  };
  while (at < message.length) {
    const tag = varint();
    const wire = tag % 8;
    const number = Math.floor(tag / 8);
    const size = wire === 1 ? 8 : wire === 5 ? 4 : varint();
    if (Number.isNaN(tag) || Number.isNaN(size) || ![0, 1, 2, 5].includes(wire)) break;
    if (wire === 0) {
      found.push({ number, integer: size, bytes: null });
      continue;
    }
    if (size > message.length - at) break;
    const bytes = wire === 2 ? message.subarray(at, at + size) : null;
    found.push({ number, integer: 0, bytes });
    at += size;
  }
  return found;
}
