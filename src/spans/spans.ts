/** Decoded record → span: wall clock, names, attributes. */
import type { GoType } from '../native/native.js';
import type { Call, CallValue, CallWaits, Fold, ProgramSpanRecord } from './call.js';
import { errorInfo } from './errors.js';
import {
  CallEnd,
  ContextSource,
  ParentKind,
  SpecialValue,
  ValueState,
} from './records.generated.js';
import { renderShape, type Shape } from './shapes.js';
import { addAllocations, addTimes, eventsOf, linksOf } from './waits.js';
import { addressesIn, renderValue } from './values.js';
import type { AttributeValue, FunctionSpan, ProcessResource, ProgramSpan } from './span.js';

/** A value that is read from every call of a function. */
export interface ValueName {
  attribute: string;
  type: GoType | Shape;
  redacted: boolean;
}

/** How the failure of a call is told where no value of Go's type error tells it. */
export interface FailureName {
  /** What was read of a failed call. */
  read: ValueName | null;
  /** The error's type; null: the result itself is what was read. */
  type: string | null;
}

/** What addresses in a module's memory stand for; null where that is not known. */
export interface AddressNames {
  typeName(address: number): string | null;
  /** A line of a stack, in Go's format. */
  frame(address: number): string | null;
}

/** A function as spans name it; null where the program does not say. */
export interface FunctionName {
  name: string;
  file: string | null;
  line: number | null;
  /** Arguments, then results, by the index that values carry. */
  values?: readonly ValueName[];
  /** null: Go's. */
  failure?: FailureName | null;
  /** What its calls wait for is looked at. */
  waits?: boolean;
  addresses?: AddressNames;
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
  /** How much of this time a process's garbage collector had stopped the world; null: not known. */
  pausedDuring?: (tgid: number, startNs: number, durationNs: number) => number | null;
}

const NO_NAMES: AddressNames = { typeName: () => null, frame: () => null };

function addValues(
  attributes: Record<string, AttributeValue>,
  { values = [], addresses = NO_NAMES }: FunctionName,
  read: readonly CallValue[],
): void {
  for (const value of read) {
    const named = values[value.index];
    if (value.index === SpecialValue.STACK_TRACE) {
      const frames = addressesIn(value.data).map((address) => addresses.frame(address));
      attributes['code.stacktrace'] = frames.filter((frame) => frame).join('\n');
    } else if (named) {
      const { attribute, type, redacted } = named;
      if ('shape' in type) {
        attributes[attribute] = renderShape(value, type, redacted);
        continue;
      }
      const typeName = (at: number): string | null => addresses.typeName(at);
      const isError = type.name === 'error' && !redacted && value.data.length > 0;
      const message = isError ? errorInfo(value, typeName).message : null;
      attributes[attribute] = message ?? renderValue(value, type, redacted, typeName);
    }
  }
}

/** Of the calls that one span stands for. */
function addFold(attributes: Record<string, AttributeValue>, fold: Fold): void {
  attributes['underspan.folded.count'] = fold.count;
  attributes['underspan.folded.total'] = fold.totalNs;
  attributes['underspan.folded.slowest'] = fold.slowestNs;
  attributes['underspan.folded.fastest'] = fold.fastestNs;
  if (fold.failures > 0) attributes['underspan.folded.failed'] = fold.failures;
}

/** A call fails by what unwinds it, or by an error that it returns. */
function statusOf(
  call: Call,
  named: FunctionName | undefined,
  attributes: Record<string, AttributeValue>,
): FunctionSpan['status'] {
  const { fold } = call;
  if (fold) {
    if (fold.failures === 0) return { code: 'unset' };
    return { code: 'error', message: `${fold.failures} of ${fold.count} failed` };
  }
  const panicked = call.end === CallEnd.PANICKED;
  if (call.end === CallEnd.UNWOUND) {
    return { code: 'error', message: 'unwound: an exception, a panic or a jump left it' };
  }
  if (!panicked && !call.failed) return { code: 'unset' };
  const index = panicked ? SpecialValue.PANIC : SpecialValue.RESULT_ERROR;
  const value = call.values?.find((each) => each.index === index);
  if (!panicked && named?.failure) return failed(named.failure, value, attributes);
  const { addresses = NO_NAMES } = named ?? {};
  const info = value && errorInfo(value, (at) => addresses.typeName(at));
  if (info?.type) attributes['error.type'] = info.type;
  if (panicked) {
    return {
      code: 'error',
      message: info?.message ? `panic: ${info.message}` : 'unwound by a panic',
    };
  }
  return info?.message ? { code: 'error', message: info.message } : { code: 'error' };
}

/** A negative number or a null pointer that was returned, or an Err. */
function failed(
  { read, type }: FailureName,
  value: CallValue | undefined,
  attributes: Record<string, AttributeValue>,
): FunctionSpan['status'] {
  if (type !== null) attributes['error.type'] = type;
  const shape = read?.type;
  const isRead = value?.state === ValueState.READ || value?.state === ValueState.CUT;
  const shown =
    shape && 'shape' in shape && isRead ? String(renderShape(value, shape, false)) : null;
  if (type !== null) return shown === null ? { code: 'error' } : { code: 'error', message: shown };
  return { code: 'error', message: `returned ${shown ?? 'null'}` };
}

const SOURCES = new Map<number, string>([
  [ContextSource.NONE, 'none'],
  [ContextSource.GO_CONTEXT, 'go.context'],
  [ContextSource.GO_SDK, 'go.sdk'],
  [ContextSource.GO_GOROUTINE, 'go.goroutine'],
  [ContextSource.GO_LABELS, 'go.labels'],
  [ContextSource.THREAD, 'thread'],
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
    if (named && call.values) addValues(attributes, named, call.values);
    if (named?.waits && call.waitsKnown)
      addTimes(attributes, call.fold?.totalNs ?? call.durationNs, call.waits);
    if (call.waits && call.waitsKnown) addAllocations(attributes, call.waits);
    if (call.goroutineId !== 0) this.addPause(attributes, call);
    if (call.fold) addFold(attributes, call.fold);
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
      status: statusOf(call, named, attributes),
      attributes,
      ...(call.waits && call.waits.told.length > 0 ? this.toldOf(call, call.waits) : {}),
      resource: this.options.resource(call.tgid),
      functionIndex: call.function,
    };
  }

  private addPause(attributes: Record<string, AttributeValue>, call: Call): void {
    const { tgid, startNs, durationNs } = call;
    const paused = this.options.pausedDuring?.(tgid, Number(startNs), durationNs) ?? 0;
    if (paused > 0) attributes['underspan.time.gc_pause'] = Math.round(paused);
  }

  private toldOf(call: Call, waits: CallWaits): Pick<FunctionSpan, 'events' | 'links'> {
    const nameOf = (index: number): string | null => this.options.functions[index]?.name ?? null;
    return {
      events: eventsOf(waits, this.clockOffsetNs, nameOf),
      links: linksOf(waits, call.traceId),
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
