import type { FunctionSpan, ProgramSpan } from '../spans/span.js';
import type { Notice, Sink, Summary } from './sink.js';

/**
 * Passes on spans until there are `limit`, and after that only those of traces that have begun, so
 * that none loses its parent. What is held back is counted as `limit`.
 */
export class FirstTraces implements Sink {
  private readonly traces = new Set<string>();
  private passed = 0;
  private heldBack = 0;

  constructor(
    private readonly sinks: readonly Sink[],
    private readonly limit: number,
    private readonly onReached: () => void,
  ) {}

  spans(batch: readonly FunctionSpan[]): void {
    const before = this.passed;
    const wanted = batch.filter(({ traceId }) => this.take(traceId));
    this.heldBack += batch.length - wanted.length;
    for (const sink of this.sinks) sink.spans(wanted);
    if (before < this.limit && this.passed >= this.limit) this.onReached();
  }

  programSpans(batch: readonly ProgramSpan[]): void {
    // Those of a trace end after its calls, so that its own begin is the latest moment to know.
    const wanted = batch.filter(
      ({ traceId }) => this.passed < this.limit || this.traces.has(traceId),
    );
    for (const sink of this.sinks) sink.programSpans?.(wanted);
  }

  notice(notice: Notice): void {
    for (const sink of this.sinks) sink.notice?.(notice);
  }

  async flush(deadlineMs: number): Promise<void> {
    await Promise.all(this.sinks.map((sink) => sink.flush?.(deadlineMs)));
  }

  lost(): Record<string, number> {
    const sum: Record<string, number> = { limit: this.heldBack };
    for (const sink of this.sinks) {
      for (const [reason, count] of Object.entries(sink.lost?.() ?? {})) {
        sum[reason] = (sum[reason] ?? 0) + count;
      }
    }
    return sum;
  }

  async close(summary: Summary): Promise<void> {
    await Promise.all(this.sinks.map((sink) => sink.close(summary)));
  }

  private take(traceId: string): boolean {
    if (this.passed >= this.limit && !this.traces.has(traceId)) return false;
    this.traces.add(traceId);
    this.passed++;
    return true;
  }
}
