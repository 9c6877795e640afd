/** Requests as spans, made up: what a program's calls would be if they took these times. */
import type { AttributeValue, SpanEvent } from '../../src/spans/span.js';
import type { ObservedCall, ObservedProgramSpan } from '../../src/why/spans.js';

export interface MadeCall {
  name: string;
  /** Without what it calls. */
  selfMs: number;
  beneath?: MadeCall[];
  /** On a goroutine of its own, while its caller goes on with selfMs. */
  apart?: true;
  error?: string;
  attributes?: Record<string, AttributeValue>;
  events?: SpanEvent[];
}

export interface MadeRequest {
  name: string;
  /** When it came. */
  atMs: number;
  call: MadeCall;
  attributes?: Record<string, AttributeValue>;
}

const resource = { attributes: {} };
const nanoseconds = (ms: number): bigint => BigInt(Math.round(ms * 1e6));

export class MadeRequests {
  readonly calls: ObservedCall[] = [];
  readonly programSpans: ObservedProgramSpan[] = [];
  private ids = 0;

  /** Returns its trace id. */
  add({ name, atMs, call, attributes }: MadeRequest): string {
    const traceId = (++this.ids).toString(16).padStart(32, '0');
    const spanId = this.id();
    const endMs = this.lay(call, { traceId, parent: spanId, goroutine: ++this.ids }, atMs);
    this.programSpans.push({
      traceId,
      spanId,
      parentSpanId: null,
      name,
      startTimeUnixNano: nanoseconds(atMs),
      endTimeUnixNano: nanoseconds(endMs),
      resource,
      ...(attributes ? { attributes } : {}),
    });
    return traceId;
  }

  private lay(
    call: MadeCall,
    place: { traceId: string; parent: string; goroutine: number },
    startMs: number,
  ): number {
    const spanId = this.id();
    let endMs = startMs + call.selfMs / 10;
    for (const beneath of call.beneath ?? []) {
      const goroutine = beneath.apart ? ++this.ids : place.goroutine;
      const end = this.lay(beneath, { ...place, parent: spanId, goroutine }, endMs);
      if (!beneath.apart) endMs = end;
    }
    endMs += call.selfMs * 0.9;
    this.calls.push({
      traceId: place.traceId,
      spanId,
      parentSpanId: place.parent,
      traceFlags: 1,
      name: call.name,
      startTimeUnixNano: nanoseconds(startMs),
      endTimeUnixNano: nanoseconds(endMs),
      durationNano: Number(nanoseconds(endMs) - nanoseconds(startMs)),
      status: call.error === undefined ? { code: 'unset' } : { code: 'error', message: call.error },
      attributes: { 'underspan.goroutine.id': place.goroutine, ...call.attributes },
      resource,
      functionIndex: 1,
      ...(call.events ? { events: call.events } : {}),
    });
    return endMs;
  }

  private id(): string {
    return (++this.ids).toString(16).padStart(16, '0');
  }
}
