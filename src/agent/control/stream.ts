/** A session's spans as its client reads them. */
import type { Writable } from 'node:stream';
import { JsonLines } from '../../sinks/json-lines.js';
import { Output } from '../../sinks/output.js';
import type { Notice, Sink, Summary } from '../../sinks/sink.js';
import type { FunctionSpan, ProgramSpan } from '../../spans/span.js';
import type { ErrorBody, ErrorEvent, SpanExtras } from './protocol.js';

/** How much of a session may wait for a slow client. */
const MAX_BYTES = 8 << 20;
/** How long the last lines wait for a client that has stopped reading, in ms. */
const CLOSE_MS = 5_000;

export class StreamSink implements Sink {
  /** Spans that were taken for the client. */
  taken = 0;
  /** Only there if the client wants them, since they cost the target time. */
  readonly programSpans?: (batch: readonly ProgramSpan[]) => void;
  private readonly output: Output;
  private readonly lines = new JsonLines();
  private refused = 0;

  constructor(stream: Writable, programSpans: boolean, maxBytes = MAX_BYTES) {
    this.output = new Output(stream, { maxBytes });
    if (!programSpans) return;
    this.programSpans = (batch) => {
      this.output.offer(batch.map((span) => this.lines.programSpan(span)).join(''));
    };
  }

  spans(tree: readonly FunctionSpan[]): void {
    const text = tree.map((span, index) => {
      const { traceFlags, functionIndex } = span;
      const extras: SpanExtras = { traceFlags, functionIndex };
      if (index < tree.length - 1) extras.more = true;
      return this.lines.span(span, { ...extras });
    });
    if (this.output.offer(text.join(''))) this.taken += tree.length;
    else this.refused += tree.length;
  }

  notice(notice: Notice): void {
    this.put({ type: 'notice', ...notice });
  }

  /** In place of a summary. */
  async fail(error: ErrorBody): Promise<void> {
    this.put({ type: 'error', ...error } satisfies ErrorEvent);
    await this.output.flush(CLOSE_MS);
  }

  flush(deadlineMs: number): Promise<void> {
    return this.output.flush(deadlineMs);
  }

  lost(): Record<string, number> {
    return { output: this.refused };
  }

  async close(summary: Summary): Promise<void> {
    this.put({ type: 'summary', ...summary });
    await this.output.flush(CLOSE_MS);
  }

  private put(line: object): void {
    this.output.put(`${JSON.stringify(line)}\n`);
  }
}
