/** One JSON object a line: span, notice, and a summary at the end. */
import type { Writable } from 'node:stream';
import type { FunctionSpan, ProcessResource } from '../spans/span.js';
import { Output, type OutputOptions } from './output.js';
import type { Notice, Sink, Summary } from './sink.js';

/** How long the last lines wait for a reader that has stopped reading. */
const CLOSE_MS = 10_000;

export class JsonSink implements Sink {
  private readonly output: Output;
  private readonly resources = new WeakMap<ProcessResource, string>();
  private refused = 0;

  constructor(stream: Writable, options: OutputOptions = {}) {
    this.output = new Output(stream, options);
  }

  spans(tree: readonly FunctionSpan[]): void {
    let text = '';
    for (const span of tree) text += this.line(span);
    if (!this.output.offer(text)) this.refused += tree.length;
  }

  notice(notice: Notice): void {
    this.output.put(`${JSON.stringify({ type: 'notice', ...notice })}\n`);
  }

  flush(deadlineMs: number): Promise<void> {
    return this.output.flush(deadlineMs);
  }

  lost(): Record<string, number> {
    return { output: this.refused };
  }

  close(summary: Summary): Promise<void> {
    this.output.put(`${JSON.stringify({ type: 'summary', ...summary })}\n`);
    return this.output.flush(CLOSE_MS);
  }

  private line(span: FunctionSpan): string {
    const head = JSON.stringify({
      type: 'span',
      traceId: span.traceId,
      spanId: span.spanId,
      parentSpanId: span.parentSpanId,
      name: span.name,
      startTimeUnixNano: span.startTimeUnixNano.toString(),
      endTimeUnixNano: span.endTimeUnixNano.toString(),
      durationNano: span.durationNano,
      status: span.status,
      attributes: span.attributes,
    });
    // A process's resource is the same on every line: serialised once.
    return `${head.slice(0, -1)},"resource":${this.resource(span.resource)}}\n`;
  }

  private resource(resource: ProcessResource): string {
    let text = this.resources.get(resource);
    if (text === undefined) {
      text = JSON.stringify(resource.attributes);
      this.resources.set(resource, text);
    }
    return text;
  }
}
