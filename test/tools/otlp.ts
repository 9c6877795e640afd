import { ProtobufReader } from './protobuf.js';

export type OtlpValue = string | number | boolean | bigint | Uint8Array | null | OtlpValue[];
export type OtlpAttributes = Record<string, OtlpValue>;

/** A span as it came over the wire, with its resource and scope. */
export interface OtlpSpan {
  traceId: string;
  spanId: string;
  /** null: a root. */
  parentSpanId: string | null;
  flags: number;
  name: string;
  /** 1 is INTERNAL, 2 SERVER. */
  kind: number;
  startTimeUnixNano: bigint;
  endTimeUnixNano: bigint;
  attributes: OtlpAttributes;
  events: { timeUnixNano: bigint; name: string; attributes: OtlpAttributes }[];
  links: { traceId: string; spanId: string; attributes: OtlpAttributes }[];
  /** code 0 is unset, 1 ok, 2 error. */
  status: { code: number; message: string };
  scope: { name: string; version: string };
  resource: OtlpAttributes;
}

/*
 * The field numbers below are those of opentelemetry/proto/collector/trace/v1, trace/v1,
 * common/v1 and resource/v1. By hand, since the encoder of the SDK has no counterpart and a
 * schema compiler would be one more dependency for these few messages.
 */

/** Decodes an ExportTraceServiceRequest. */
export function decodeTraces(message: Uint8Array): OtlpSpan[] {
  const spans: OtlpSpan[] = [];
  new ProtobufReader(message).each({
    1: (field) => decodeResourceSpans(field.message(), spans),
  });
  return spans;
}

function decodeResourceSpans(reader: ProtobufReader, spans: OtlpSpan[]): void {
  const resource: OtlpAttributes = {};
  const first = spans.length;
  reader.each({
    1: (field) => field.message().each({ 1: (f) => decodeAttribute(f.message(), resource) }),
    2: (field) => decodeScopeSpans(field.message(), spans),
  });
  // Fields may come in any order, so the resource may be known only now.
  for (const span of spans.slice(first)) span.resource = resource;
}

function decodeScopeSpans(reader: ProtobufReader, spans: OtlpSpan[]): void {
  const scope = { name: '', version: '' };
  reader.each({
    1: (field) =>
      field.message().each({
        1: (f) => (scope.name = f.string()),
        2: (f) => (scope.version = f.string()),
      }),
    2: (field) => {
      const span = decodeSpan(field.message());
      span.scope = scope;
      spans.push(span);
    },
  });
}

function decodeSpan(reader: ProtobufReader): OtlpSpan {
  const span: OtlpSpan = {
    traceId: '',
    spanId: '',
    parentSpanId: null,
    flags: 0,
    name: '',
    kind: 0,
    startTimeUnixNano: 0n,
    endTimeUnixNano: 0n,
    attributes: {},
    events: [],
    links: [],
    status: { code: 0, message: '' },
    scope: { name: '', version: '' },
    resource: {},
  };
  reader.each({
    1: (field) => (span.traceId = hex(field.bytes())),
    2: (field) => (span.spanId = hex(field.bytes())),
    4: (field) => (span.parentSpanId = hex(field.bytes()) || null),
    5: (field) => (span.name = field.string()),
    6: (field) => (span.kind = field.number()),
    7: (field) => (span.startTimeUnixNano = field.fixed64()),
    8: (field) => (span.endTimeUnixNano = field.fixed64()),
    9: (field) => decodeAttribute(field.message(), span.attributes),
    11: (field) => void span.events.push(decodeEvent(field.message())),
    13: (field) => void span.links.push(decodeLink(field.message())),
    15: (field) =>
      field.message().each({
        2: (f) => (span.status.message = f.string()),
        3: (f) => (span.status.code = f.number()),
      }),
    16: (field) => (span.flags = field.fixed32()),
  });
  return span;
}

function decodeEvent(reader: ProtobufReader): OtlpSpan['events'][number] {
  const event: OtlpSpan['events'][number] = { timeUnixNano: 0n, name: '', attributes: {} };
  reader.each({
    1: (field) => (event.timeUnixNano = field.fixed64()),
    2: (field) => (event.name = field.string()),
    3: (field) => decodeAttribute(field.message(), event.attributes),
  });
  return event;
}

function decodeLink(reader: ProtobufReader): OtlpSpan['links'][number] {
  const link: OtlpSpan['links'][number] = { traceId: '', spanId: '', attributes: {} };
  reader.each({
    1: (field) => (link.traceId = hex(field.bytes())),
    2: (field) => (link.spanId = hex(field.bytes())),
    4: (field) => decodeAttribute(field.message(), link.attributes),
  });
  return link;
}

function decodeAttribute(reader: ProtobufReader, into: OtlpAttributes): void {
  let key = '';
  let value: OtlpValue = null;
  reader.each({
    1: (field) => (key = field.string()),
    2: (field) => (value = decodeValue(field.message())),
  });
  into[key] = value;
}

function decodeValue(reader: ProtobufReader): OtlpValue {
  let value: OtlpValue = null;
  reader.each({
    1: (field) => (value = field.string()),
    2: (field) => (value = field.number() !== 0),
    3: (field) => (value = smallest(field.int64())),
    4: (field) => (value = field.double()),
    5: (field) => {
      const list: OtlpValue[] = [];
      field.message().each({ 1: (f) => list.push(decodeValue(f.message())) });
      value = list;
    },
    7: (field) => (value = field.bytes()),
  });
  return value;
}

/** A number where that is exact. */
export function smallest(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** The answer to a request: an ExportTraceServiceResponse, which rejects some spans or none. */
export function encodeTracesResponse(rejected: number, message: string): Buffer {
  if (rejected === 0 && message === '') return Buffer.alloc(0);
  const text = Buffer.from(message);
  const partial = Buffer.concat([
    Buffer.from([1 << 3, ...varint(rejected), (2 << 3) | 2, ...varint(text.length)]),
    text,
  ]);
  return Buffer.concat([Buffer.from([(1 << 3) | 2, ...varint(partial.length)]), partial]);
}

function varint(value: number): number[] {
  return value < 128 ? [value] : [(value % 128) | 128, ...varint(Math.floor(value / 128))];
}
