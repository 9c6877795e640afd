/** Records of bpf/records.h → objects. Nothing here throws: what cannot be read is counted. */
import type {
  Call,
  CallValue,
  CallWaits,
  CollectorRecord,
  OpenCall,
  ProcessRecord,
  ProgramSpanRecord,
  TracerRecord,
  Wait,
} from './call.js';
import { TOO_LONG, UNREADABLE_ATTRIBUTE } from './span-attribute.js';
import {
  callRecord,
  gcRecord,
  openCall,
  fileKey,
  processRecord,
  programSpanRecord,
  recordHeader,
  RecordKind,
  spanAttributeRecord,
  tracerRecord,
  valueHeader,
  WaitKind,
  WaitsKnown,
  waitRecord,
  waker as wakerLayout,
  waits as waitsLayout,
  waitsRecord,
} from './records.generated.js';
import type { AttributeValue } from './span.js';

export interface RecordHandler {
  call(call: Call): void;
  programSpan(span: ProgramSpanRecord): void;
  process(event: ProcessRecord): void;
  tracer(record: TracerRecord): void;
  collector(record: CollectorRecord): void;
}

const TWO_32 = 0x1_0000_0000;
const NO_ID = '0000000000000000';
/** Spans whose attributes have come and they themselves not yet. */
const MAX_PENDING = 1_000;

/**
 * The ids of a call lie next to each other: one conversion to hexadecimal and four slices cost a
 * quarter of four conversions.
 */
const ID = {
  from: Math.min(callRecord.traceId, callRecord.spanId, callRecord.parentId, callRecord.treeId),
  to:
    Math.max(
      callRecord.traceId + callRecord.traceIdLength - callRecord.spanIdLength,
      callRecord.spanId,
      callRecord.parentId,
      callRecord.treeId,
    ) + callRecord.spanIdLength,
};
const TRACE_AT = 2 * (callRecord.traceId - ID.from);
const SPAN_AT = 2 * (callRecord.spanId - ID.from);
const PARENT_AT = 2 * (callRecord.parentId - ID.from);
const TREE_AT = 2 * (callRecord.treeId - ID.from);
const TRACE_DIGITS = 2 * callRecord.traceIdLength;
const SPAN_DIGITS = 2 * callRecord.spanIdLength;

/** Exact up to 2^53. */
function word(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * TWO_32 + view.getUint32(at, true);
}

/** The difference of two words, exact where it is below 2^53; a clock that ran back makes 0. */
function span(view: DataView, from: number, to: number): number {
  const high = view.getUint32(to + 4, true) - view.getUint32(from + 4, true);
  const low = view.getUint32(to, true) - view.getUint32(from, true);
  return Math.max(0, high * TWO_32 + low);
}

function decodeCall(batch: Buffer, view: DataView, at: number): Call {
  const ids = batch.toString('hex', at + ID.from, at + ID.to);
  const spanId = ids.slice(SPAN_AT, SPAN_AT + SPAN_DIGITS);
  const treeId = ids.slice(TREE_AT, TREE_AT + SPAN_DIGITS);
  return {
    traceId: ids.slice(TRACE_AT, TRACE_AT + TRACE_DIGITS),
    spanId,
    parentId: ids.slice(PARENT_AT, PARENT_AT + SPAN_DIGITS),
    parentKind: batch[at + callRecord.parentKind] ?? 0,
    treeId,
    traceFlags: batch[at + callRecord.traceFlags] ?? 0,
    source: batch[at + callRecord.source] ?? 0,
    end: batch[at + callRecord.end] ?? 0,
    depth: batch[at + callRecord.depth] ?? 0,
    startNs: view.getBigUint64(at + callRecord.startNs, true),
    durationNs: span(view, at + callRecord.startNs, at + callRecord.endNs),
    descendants: view.getUint32(at + callRecord.descendants, true),
    function: view.getUint32(at + callRecord.function, true),
    tgid: view.getUint32(at + callRecord.tgid, true),
    tid: view.getUint32(at + callRecord.tid, true),
    stack: view.getBigUint64(at + callRecord.stack, true),
    goroutineId: word(view, at + callRecord.goroutineId),
    treeSpans: view.getUint32(at + callRecord.treeSpans, true),
    treeLost: view.getUint32(at + callRecord.treeLost, true),
    failed: batch[at + callRecord.failed] !== 0,
    values: decodeValues(batch, view, at),
    waits: null,
    waitsKnown: batch[at + callRecord.waits] !== WaitsKnown.UNKNOWN,
    fold: null,
    incomplete: false,
    unclosed: false,
  };
}

/** The values behind a call's record; what does not fit into it is left out. */
function decodeValues(batch: Buffer, view: DataView, at: number): CallValue[] | null {
  const count = view.getUint8(at + callRecord.valuesCount);
  if (count === 0) return null;
  const end = at + view.getUint32(at + recordHeader.sizeField, true);
  const values: CallValue[] = [];
  for (let next = at + callRecord.size; next + valueHeader.size <= end;) {
    const size = view.getUint16(next + valueHeader.sizeField, true);
    const start = next + valueHeader.size;
    if (values.length === count || start + size > end) break;
    values.push({
      index: batch[next + valueHeader.index] ?? 0,
      state: batch[next + valueHeader.state] ?? 0,
      length: word(view, next + valueHeader.length),
      type: word(view, next + valueHeader.type),
      data: batch.subarray(start, start + size),
    });
    next = start + ((size + 7) & ~7);
  }
  return values;
}

const NO_TRACE = '0'.repeat(32);

function decodeWait(batch: Buffer, view: DataView, at: number): Wait {
  const layout = waitRecord;
  const by = at + layout.waker;
  const readyNs = view.getBigUint64(at + layout.readyNs, true);
  const goroutineId = word(view, by + wakerLayout.goroutineId);
  const traceId = hex(batch, by + wakerLayout.traceId, wakerLayout.traceIdLength);
  const tid = view.getUint32(by + wakerLayout.tid, true);
  const waker = {
    goroutineId,
    tid,
    traceId: traceId === NO_TRACE ? null : traceId,
    spanId: hex(batch, by + wakerLayout.spanId, wakerLayout.spanIdLength),
    function: view.getUint32(by + wakerLayout.function, true),
  };
  return {
    startNs: view.getBigUint64(at + layout.startNs, true),
    readyNs: readyNs === 0n ? null : readyNs,
    endNs: view.getBigUint64(at + layout.endNs, true),
    kind: view.getUint32(at + layout.kind, true),
    waker: goroutineId === 0 && tid === 0 ? null : waker,
  };
}

function decodeCollector(view: DataView, at: number): CollectorRecord {
  const known = (offset: number): number | null => word(view, at + offset) || null;
  return {
    tgid: view.getUint32(at + gcRecord.tgid, true),
    event: view.getUint8(at + gcRecord.event),
    phase: view.getUint8(at + gcRecord.phase),
    startNs: word(view, at + gcRecord.startNs),
    endNs: word(view, at + gcRecord.endNs),
    cycleNs: known(gcRecord.cycleNs),
    heapLive: known(gcRecord.heapLive),
    heapGoal: known(gcRecord.heapGoal),
  };
}

/** What calls waited for; each comes before the call's own record, if that comes at all. */
class PendingWaits {
  private readonly calls = new Map<string, CallWaits>();

  get isEmpty(): boolean {
    return this.calls.size === 0;
  }

  of(spanId: string): CallWaits {
    let waits = this.calls.get(spanId);
    if (!waits) {
      // The record of the oldest did not find room.
      const [oldest] = this.calls.size < MOST_PENDING ? [] : this.calls.keys();
      if (oldest !== undefined) this.calls.delete(oldest);
      waits = {
        ns: new Float64Array(WaitKind.KINDS),
        allocated: 0,
        allocations: 0,
        complete: false,
        told: [],
      };
      this.calls.set(spanId, waits);
    }
    return waits;
  }

  take(spanId: string): CallWaits | null {
    const waits = this.calls.get(spanId);
    if (!waits) return null;
    this.calls.delete(spanId);
    return waits;
  }
}

/** Those of calls whose own record does not come, since they were short, stay until others come. */
const MOST_PENDING = 16_384;
/** Of one call; the others are in its sums. */
const MOST_TOLD = 64;

function hex(bytes: Buffer, at: number, length: number): string {
  return bytes.toString('hex', at, at + length);
}

function decodeProgramSpan(batch: Buffer, view: DataView, at: number): ProgramSpanRecord {
  const layout = programSpanRecord;
  const parentId = hex(batch, at + layout.parentId, layout.parentIdLength);
  const size = Math.min(view.getUint16(at + layout.nameSize, true), layout.nameLength);
  const name = batch.toString('utf8', at + layout.name, at + layout.name + size);
  return {
    traceId: hex(batch, at + layout.traceId, layout.traceIdLength),
    spanId: hex(batch, at + layout.spanId, layout.spanIdLength),
    parentId: parentId === NO_ID ? null : parentId,
    parentRemote: batch[at + layout.parentRemote] !== 0,
    // A name that was cut off may end within a character.
    name: size === layout.nameLength ? name.replace(/\ufffd+$/, '') : name,
    status: STATUSES[batch[at + layout.status] ?? 0] ?? 'unset',
    attributes: null,
    startNs: view.getBigUint64(at + layout.startNs, true),
    endNs: view.getBigUint64(at + layout.endNs, true),
    tgid: view.getUint32(at + layout.tgid, true),
    goroutineId: word(view, at + layout.goroutineId),
  };
}

/** codes.Code of Go's API, the same in every version. */
const STATUSES = ['unset', 'error', 'ok'] as const;

/** attribute.Type, the same in every version; of the kinds that one value has. */
const AttributeKind = { BOOL: 1, INT64: 2, FLOAT64: 3, STRING: 4 } as const;

/** Null for a list. */
function decodeAttribute(batch: Buffer, view: DataView, at: number): AttributeValue | null {
  const layout = spanAttributeRecord;
  switch (view.getUint32(at + layout.kind, true)) {
    case AttributeKind.BOOL:
      return batch[at + layout.number] !== 0;
    case AttributeKind.INT64:
      return Number(view.getBigInt64(at + layout.number, true));
    case AttributeKind.FLOAT64:
      return view.getFloat64(at + layout.number, true);
    case AttributeKind.STRING: {
      const length = view.getUint32(at + layout.length, true);
      const text = at + layout.text;
      return length < layout.textLength ? batch.toString('utf8', text, text + length) : TOO_LONG;
    }
    default:
      return null;
  }
}

/**
 * The struct open_call elements of one stack, outermost first, without those of trees that make
 * no spans.
 */
export function decodeOpenCalls(elements: readonly Buffer[]): OpenCall[] {
  return elements.flatMap((bytes) => {
    if (bytes.length < openCall.size || bytes[openCall.dropped] !== 0) return [];
    const outermost = elements[bytes.readUInt8(openCall.tree)];
    if (outermost === undefined || outermost.length < openCall.size) return [];
    return decodeOpenCall(bytes, hex(outermost, openCall.spanId, openCall.spanIdLength));
  });
}

function decodeOpenCall(bytes: Buffer, treeId: string): OpenCall {
  return {
    treeId,
    traceId: hex(bytes, openCall.traceId, openCall.traceIdLength),
    spanId: hex(bytes, openCall.spanId, openCall.spanIdLength),
    parentId: hex(bytes, openCall.parentId, openCall.parentIdLength),
    parentKind: bytes.readUInt8(openCall.parentKind),
    traceFlags: bytes.readUInt8(openCall.traceFlags),
    source: bytes.readUInt8(openCall.source),
    startNs: bytes.readBigUInt64LE(openCall.startNs),
    descendants: bytes.readUInt32LE(openCall.descendants),
    function: bytes.readUInt32LE(openCall.function),
  };
}

/** Reads batches and remembers what it could not read. */
export class Decoder {
  /** Records of a kind that is not known here. */
  unknown = 0;
  /** Records, or ends of batches, that are shorter than they should be. */
  truncated = 0;
  private readonly waits = new PendingWaits();

  /** By span id, until the span's own record comes. */
  private readonly attributes = new Map<string, Map<number, AttributeValue>>();

  constructor(private readonly handler: RecordHandler) {}

  decode(batch: Buffer): void {
    const view = new DataView(batch.buffer, batch.byteOffset, batch.length);
    let at = 0;
    while (at + recordHeader.size <= batch.length) {
      const size = view.getUint32(at + recordHeader.sizeField, true);
      if (size < recordHeader.size || size > batch.length - at) break;
      this.record(batch, view, at, size);
      at += size;
    }
    if (at < batch.length) this.truncated++;
  }

  private programSpan(span: ProgramSpanRecord): void {
    const attributes = this.attributes.get(span.spanId);
    if (attributes) {
      span.attributes = attributes;
      this.attributes.delete(span.spanId);
    }
    this.handler.programSpan(span);
  }

  private attribute(batch: Buffer, view: DataView, at: number): void {
    const { spanId, spanIdLength, name } = spanAttributeRecord;
    const number = view.getUint32(at + name, true);
    const value = number === UNREADABLE_ATTRIBUTE ? true : decodeAttribute(batch, view, at);
    if (value === null) return;
    const id = hex(batch, at + spanId, spanIdLength);
    const known = this.attributes.get(id) ?? new Map<number, AttributeValue>();
    // An attribute that was set twice has its last value.
    known.set(number, value);
    this.attributes.set(id, known);
    if (this.attributes.size <= MAX_PENDING) return;
    // The record of its span found no room.
    for (const oldest of this.attributes.keys()) return void this.attributes.delete(oldest);
  }

  private record(batch: Buffer, view: DataView, at: number, size: number): void {
    const kind = view.getUint32(at + recordHeader.kind, true);
    switch (kind) {
      case RecordKind.CALL:
        if (size < callRecord.size) this.truncated++;
        else this.call(decodeCall(batch, view, at), batch[at + callRecord.waits]);
        return;
      case RecordKind.WAITS:
        if (size < waitsRecord.size) this.truncated++;
        else this.addWaits(batch, view, at);
        return;
      case RecordKind.WAIT:
        if (size < waitRecord.size) this.truncated++;
        else this.addWait(batch, view, at);
        return;
      case RecordKind.GC:
        if (size < gcRecord.size) this.truncated++;
        else this.handler.collector(decodeCollector(view, at));
        return;
      case RecordKind.PROGRAM_SPAN:
        if (size < programSpanRecord.size) this.truncated++;
        else this.programSpan(decodeProgramSpan(batch, view, at));
        return;
      case RecordKind.SPAN_ATTRIBUTE:
        if (size < spanAttributeRecord.size) this.truncated++;
        else this.attribute(batch, view, at);
        return;
      case RecordKind.PROCESS:
        if (size < processRecord.size) this.truncated++;
        else
          this.handler.process({
            timeNs: view.getBigUint64(at + processRecord.timeNs, true),
            event: view.getUint16(at + processRecord.event, true),
            tgid: view.getUint32(at + processRecord.tgid, true),
            parentTgid: view.getUint32(at + processRecord.parentTgid, true),
            device: view.getBigUint64(at + processRecord.file + fileKey.device, true),
            inode: view.getBigUint64(at + processRecord.file + fileKey.inode, true),
            changedNs: view.getBigUint64(at + processRecord.file + fileKey.changedNs, true),
            held: view.getUint32(at + processRecord.held, true) !== 0,
            exitCode: view.getUint16(at + processRecord.exitCode, true),
          });
        return;
      case RecordKind.TRACER:
        if (size < tracerRecord.size) this.truncated++;
        else
          this.handler.tracer({
            tgid: view.getUint32(at + tracerRecord.tgid, true),
            tracer: view.getBigUint64(at + tracerRecord.tracer, true),
          });
        return;
      default:
        this.unknown++;
    }
  }

  private call(call: Call, known: number | undefined): void {
    if (!this.waits.isEmpty) call.waits = this.waits.take(call.spanId);
    if (known === WaitsKnown.TOLD && call.waits?.complete !== true) call.waitsKnown = false;
    this.handler.call(call);
  }

  private addWaits(batch: Buffer, view: DataView, at: number): void {
    const waits = this.waits.of(hex(batch, at + waitsRecord.spanId, waitsRecord.spanIdLength));
    const { ns } = waits;
    const from = at + waitsRecord.waits;
    for (let kind = 0; kind < ns.length; kind++) {
      ns[kind] = word(view, from + waitsLayout.ns + 8 * kind);
    }
    waits.allocated = word(view, from + waitsLayout.allocated);
    waits.allocations = word(view, from + waitsLayout.allocations);
    waits.complete = true;
  }

  private addWait(batch: Buffer, view: DataView, at: number): void {
    const { told } = this.waits.of(hex(batch, at + waitRecord.spanId, waitRecord.spanIdLength));
    if (told.length < MOST_TOLD) told.push(decodeWait(batch, view, at));
  }
}
