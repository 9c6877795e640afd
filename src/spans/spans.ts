/** Decoded record → span: wall clock, names, attributes. */
import type { Call, ProgramSpanRecord } from './call.js';
import { CallEnd, ContextSource, ParentKind } from './records.generated.js';
import type { AttributeValue, FunctionSpan, ProcessResource, ProgramSpan } from './span.js';

/** A function as spans name it; null where the program does not say. */
export interface FunctionName {
  name: string;
  file: string | null;
  line: number | null;
}

export interface SpanMakerOptions {
  /** By function index, as call records carry it. May grow while the session runs. */
  functions: readonly (FunctionName | undefined)[];
  /** CLOCK_REALTIME less CLOCK_MONOTONIC. */
  clockOffsetNs: bigint;
  /** One object per process. */
  resource: (tgid: number) => ProcessResource;
  /** What tracing one call adds to the time of the calls around it; null: not known. */
  overheadPerCallNs: number | null;
}

const SOURCES = new Map<number, string>([
  [ContextSource.NONE, 'none'],
  [ContextSource.GO_CONTEXT, 'go.context'],
  [ContextSource.GO_SDK, 'go.sdk'],
  [ContextSource.GO_GOROUTINE, 'go.goroutine'],
  [ContextSource.GO_LABELS, 'go.labels'],
  [ContextSource.UNREADABLE, 'unreadable'],
]);

export class SpanMaker {
  /** Clocks drift apart, so a long session sets this again from time to time. */
  clockOffsetNs: bigint;

  constructor(private readonly options: SpanMakerOptions) {
    this.clockOffsetNs = options.clockOffsetNs;
  }

  span(call: Call): FunctionSpan {
    const named = this.options.functions[call.function];
    const name = named?.name ?? `function ${call.function}`;
    const start = call.startNs + this.clockOffsetNs;
    const attributes: Record<string, AttributeValue> = {
      'code.function.name': name,
      'process.pid': call.tgid,
    };
    // What an unclosed call ran on last is not known.
    if (call.tid !== 0) attributes['thread.id'] = call.tid;
    if (named?.file != null) attributes['code.file.path'] = named.file;
    if (named?.line != null) attributes['code.line.number'] = named.line;
    if (call.goroutineId !== 0) attributes['underspan.goroutine.id'] = call.goroutineId;
    attributes['underspan.context.source'] = SOURCES.get(call.source) ?? 'unreadable';
    if (this.options.overheadPerCallNs !== null) {
      attributes['underspan.overhead'] = Math.round(
        call.descendants * this.options.overheadPerCallNs,
      );
    }
    if (call.incomplete) attributes['underspan.incomplete'] = true;
    return {
      traceId: call.traceId,
      spanId: call.spanId,
      parentSpanId: call.parentKind === ParentKind.NONE ? null : call.parentId,
      traceFlags: call.traceFlags,
      name,
      startTimeUnixNano: start,
      endTimeUnixNano: start + BigInt(call.durationNs),
      durationNano: call.durationNs,
      status:
        call.end === CallEnd.PANICKED
          ? { code: 'error', message: 'unwound by a panic' }
          : { code: 'unset' },
      attributes,
      resource: this.options.resource(call.tgid),
    };
  }

  programSpan(record: ProgramSpanRecord): ProgramSpan {
    return {
      traceId: record.traceId,
      spanId: record.spanId,
      parentSpanId: record.parentId,
      name: record.name,
      startTimeUnixNano: record.startNs + this.clockOffsetNs,
      endTimeUnixNano: record.endNs + this.clockOffsetNs,
      resource: this.options.resource(record.tgid),
    };
  }
}
