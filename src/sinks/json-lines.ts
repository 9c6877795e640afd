/** Spans as JSON, one object a line. */
import type { FunctionSpan, ProcessResource, ProgramSpan, SpanEvent } from '../spans/span.js';

export class JsonLines {
  private readonly resources = new WeakMap<ProcessResource, string>();

  /** `more`: fields besides those that a span always has. */
  span(span: FunctionSpan, more: Record<string, unknown> = {}): string {
    return this.line(
      {
        type: 'span',
        ...common(span),
        durationNano: span.durationNano,
        status: span.status,
        attributes: span.attributes,
        ...(span.events?.length ? { events: span.events.map(withText) } : {}),
        ...(span.links?.length ? { links: span.links } : {}),
        ...more,
      },
      span.resource,
    );
  }

  programSpan(span: ProgramSpan): string {
    return this.line(
      {
        type: 'programSpan',
        ...common(span),
      },
      span.resource,
    );
  }

  /** A process's resource is the same on every line: serialised once. */
  private line(fields: object, resource: ProcessResource): string {
    let text = this.resources.get(resource);
    if (text === undefined) {
      text = JSON.stringify(resource.attributes);
      this.resources.set(resource, text);
    }
    return `${JSON.stringify(fields).slice(0, -1)},"resource":${text}}\n`;
  }
}

/** JSON has no numbers of 64 bits. */
const withText = (event: SpanEvent): object => ({
  ...event,
  timeUnixNano: event.timeUnixNano.toString(),
});

const common = (span: FunctionSpan | ProgramSpan): object => ({
  traceId: span.traceId,
  spanId: span.spanId,
  parentSpanId: span.parentSpanId,
  name: span.name,
  startTimeUnixNano: span.startTimeUnixNano.toString(),
  endTimeUnixNano: span.endTimeUnixNano.toString(),
});
