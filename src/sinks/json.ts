/** One JSON object a line: span, notice, and a summary at the end. */
import type { Writable } from 'node:stream';
import type { FunctionSpan } from '../spans/span.js';
import { JsonLines } from './json-lines.js';
import { Output, type OutputOptions } from './output.js';
import type { Notice, Sink, Summary } from './sink.js';

/** How long the last lines wait for a reader that has stopped reading. */
const CLOSE_MS = 10_000;

export class JsonSink implements Sink {
  private readonly output: Output;
  private readonly lines = new JsonLines();
  private refused = 0;

  constructor(stream: Writable, options: OutputOptions = {}) {
    this.output = new Output(stream, options);
  }

  spans(tree: readonly FunctionSpan[]): void {
    let text = '';
    for (const span of tree) text += this.lines.span(span);
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
}
