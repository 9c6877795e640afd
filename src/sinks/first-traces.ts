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
  /** Only there if some sink wants them, since they cost the target time. */
  readonly programSpans?: (batch: readonly ProgramSpan[]) => void;

  constructor(
    private readonly sinks: readonly Sink[],
    private readonly limit: number,
    private readonly onReached: () => void,
  ) {
    if (!sinks.some((sink) => sink.programSpans !== undefined)) return;
    this.programSpans = (batch) => {
      const wanted = batch.filter(
        ({ traceId }) => this.passed < this.limit || this.traces.has(traceId),
      );
      for (const sink of sinks) sink.programSpans?.(wanted);
    };
  }

  spans(batch: readonly FunctionSpan[]): void {
    const before = this.passed;
    const wanted = batch.filter(({ traceId }) => this.take(traceId));
    this.heldBack += batch.length - wanted.length;
    if (wanted.length === 0) return;
    for (const sink of this.sinks) sink.spans(wanted);
    if (before < this.limit && this.passed >= this.limit) this.onReached();
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
