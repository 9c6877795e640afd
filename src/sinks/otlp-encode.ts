/**
 * Spans to protobuf, without the objects in between that the OpenTelemetry packages would have: it
 * is where an agent under load spends most of its time. The numbers are those of the fields in
 * opentelemetry/proto: collector/trace/v1, trace/v1, common/v1 and resource/v1.
 */
import { ProtobufTraceSerializer } from '@opentelemetry/otlp-transformer';
import type {
  AttributeValue,
  FunctionSpan,
  ProcessResource,
  ResourceValue,
  SpanEvent,
  SpanLink,
} from '../spans/span.js';
import type { EncodedBatch, ExportResult } from './otlp-wire.js';
import { ProtobufWriter, varintSize } from './protobuf-writer.js';

/** The tag of a field: its number and how it is encoded. */
const varint = (field: number): number => field << 3;
const fixed64 = (field: number): number => (field << 3) | 1;
const bytes = (field: number): number => (field << 3) | 2;
const fixed32 = (field: number): number => (field << 3) | 5;

const RESOURCE_SPANS = bytes(1);
const RESOURCE = bytes(1);
const SCOPE_SPANS = bytes(2);
const SCOPE = bytes(1);
const SPAN = bytes(2);
const KEY = bytes(1);
const VALUE = bytes(2);

const INTERNAL = 1;
const STATUS = { unset: 0, ok: 1, error: 2 } as const;
/** The flags say whether the parent is remote, and it is not. */
const HAS_IS_REMOTE = 0x100;

/** What a span takes beside its texts and attributes, and a number beside its key. */
const SPAN_ROOM = 128;
const NUMBER_ROOM = 32;

export function spanEncoder(version: string): (spans: readonly FunctionSpan[]) => EncodedBatch {
  const writer = new ProtobufWriter();
  return (spans) => {
    writer.clear();
    for (const [resource, ofResource] of byResource(spans)) {
      const resourceSpans = writer.begin(RESOURCE_SPANS);
      writeResource(writer, resource);
      const scopeSpans = writer.begin(SCOPE_SPANS);
      const scope = writer.begin(SCOPE);
      writer.string(bytes(1), 'underspan');
      writer.string(bytes(2), version);
      writer.end(scope);
      for (const span of ofResource) writeSpan(writer, span);
      writer.end(scopeSpans);
      writer.end(resourceSpans);
    }
    return writer.bytes();
  };
}

/** There is one resource object for each process. */
function byResource(
  spans: readonly FunctionSpan[],
): Iterable<[ProcessResource, readonly FunctionSpan[]]> {
  const first = spans[0];
  if (!first) return [];
  if (spans.every(({ resource }) => resource === first.resource)) return [[first.resource, spans]];
  const groups = new Map<ProcessResource, FunctionSpan[]>();
  for (const span of spans) {
    const group = groups.get(span.resource);
    if (group) group.push(span);
    else groups.set(span.resource, [span]);
  }
  return groups;
}

function writeResource(writer: ProtobufWriter, { attributes }: ProcessResource): void {
  const resource = writer.begin(RESOURCE);
  for (const [key, value] of Object.entries(attributes))
    writeAttribute(writer, bytes(1), key, value);
  writer.end(resource);
}

function writeSpan(writer: ProtobufWriter, span: FunctionSpan): void {
  const { parentSpanId, status, attributes } = span;
  const start = writer.begin(SPAN);
  writer.reserve(SPAN_ROOM);
  writer.hex(bytes(1), span.traceId);
  writer.hex(bytes(2), span.spanId);
  if (parentSpanId !== null) writer.hex(bytes(4), parentSpanId);
  writer.byte(varint(6));
  writer.byte(INTERNAL);
  writer.byte(fixed64(7));
  writer.fixed64(span.startTimeUnixNano);
  writer.byte(fixed64(8));
  writer.fixed64(span.endTimeUnixNano);
  // The number of the field takes a second byte.
  writer.varint(fixed32(16));
  writer.fixed32((span.traceFlags & 0xff) | HAS_IS_REMOTE);
  writer.string(bytes(5), span.name);
  writeAttributes(writer, bytes(9), attributes);
  for (const event of span.events ?? []) writeEvent(writer, event);
  for (const link of span.links ?? []) writeLink(writer, link);
  if (status.code !== 'unset') {
    const message = writer.begin(bytes(15));
    if (status.message !== undefined) writer.string(bytes(2), status.message);
    writer.reserve(NUMBER_ROOM);
    writer.byte(varint(3));
    writer.byte(STATUS[status.code]);
    writer.end(message);
  }
  writer.end(start);
}

function writeEvent(writer: ProtobufWriter, event: SpanEvent): void {
  const start = writer.begin(bytes(11));
  writer.reserve(NUMBER_ROOM);
  writer.byte(fixed64(1));
  writer.fixed64(event.timeUnixNano);
  writer.string(bytes(2), event.name);
  writeAttributes(writer, bytes(3), event.attributes);
  writer.end(start);
}

function writeLink(writer: ProtobufWriter, link: SpanLink): void {
  const start = writer.begin(bytes(13));
  writer.reserve(SPAN_ROOM);
  writer.hex(bytes(1), link.traceId);
  writer.hex(bytes(2), link.spanId);
  writeAttributes(writer, bytes(4), link.attributes);
  writer.end(start);
}

function writeAttributes(
  writer: ProtobufWriter,
  tag: number,
  attributes: Record<string, AttributeValue>,
): void {
  for (const key in attributes) {
    const value = attributes[key];
    if (value !== undefined) writeAttribute(writer, tag, key, value);
  }
}

/** What most attributes hold is texts and counts: of those the lengths are known before. */
function writeAttribute(
  writer: ProtobufWriter,
  tag: number,
  key: string,
  value: ResourceValue,
): void {
  const name = writer.textOf(key);
  const text = typeof value === 'string' ? writer.textOf(value) : null;
  if (text === null && !isCount(value)) {
    const start = writer.begin(tag);
    writer.utf8(KEY, name);
    writeValue(writer, VALUE, value);
    writer.end(start);
    return;
  }
  const size = text ? sizeOfField(text.length) : 1 + varintSize(Number(value));
  writer.reserve(name.length + NUMBER_ROOM);
  writer.byte(tag);
  writer.varint(sizeOfField(name.length) + sizeOfField(size));
  writer.utf8(KEY, name);
  writer.byte(VALUE);
  writer.varint(size);
  if (text) {
    writer.utf8(bytes(1), text);
  } else {
    writer.byte(varint(3));
    writer.varint(Number(value));
  }
}

function isCount(value: ResourceValue): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

/** An AnyValue. */
function writeValue(writer: ProtobufWriter, tag: number, value: ResourceValue): void {
  const start = writer.begin(tag);
  writer.reserve(NUMBER_ROOM);
  if (typeof value === 'string') {
    writer.string(bytes(1), value);
  } else if (typeof value === 'boolean') {
    writer.byte(varint(2));
    writer.byte(value ? 1 : 0);
  } else if (typeof value !== 'number') {
    const list = writer.begin(bytes(5));
    for (const item of value) writeValue(writer, bytes(1), item);
    writer.end(list);
  } else if (Number.isInteger(value) && value >= -(2 ** 63) && value < 2 ** 63) {
    writer.byte(varint(3));
    writer.int64(value);
  } else {
    writer.byte(fixed64(4));
    writer.double(value);
  }
  writer.end(start);
}

const sizeOfField = (length: number): number => 1 + varintSize(length) + length;

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
