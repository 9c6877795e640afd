import type { FunctionSpan, ProgramSpan } from '../spans/span.js';
import { sumOf } from './losses.js';
import type { Notice, Sink, Summary } from './sink.js';

/** A sink that another trace goes on with: this one neither closes it nor answers for what it loses. */
export class KeptOpen implements Sink {
  /** Only there if the sink wants them, since they cost the target time. */
  readonly programSpans?: (batch: readonly ProgramSpan[]) => void;

  constructor(
    private readonly sink: Sink,
    /** Asked at the end. */
    private readonly goesOn: () => boolean,
  ) {
    if (sink.programSpans) this.programSpans = (batch) => sink.programSpans?.(batch);
  }

  spans(tree: readonly FunctionSpan[]): void {
    this.sink.spans(tree);
  }

  notice(notice: Notice): void {
    this.sink.notice?.(notice);
  }

  async flush(deadlineMs: number): Promise<void> {
    if (!this.goesOn()) await this.sink.flush?.(deadlineMs);
  }

  lost(): Record<string, number> {
    return this.goesOn() ? {} : (this.sink.lost?.() ?? {});
  }

  async close(summary: Summary): Promise<void> {
    if (!this.goesOn()) await this.sink.close(summary);
  }
}

/** Where no other trace came after all. Returns the summary with what the sinks have lost. */
export async function closeKept(
  sinks: readonly Sink[],
  summary: Summary,
  deadlineMs: number,
): Promise<Summary> {
  await Promise.all(sinks.map((sink) => sink.flush?.(deadlineMs)));
  const whole = { ...summary, lost: sinks.reduce(withLost, summary.lost) };
  await Promise.all(sinks.map((sink) => sink.close(whole)));
  return whole;
}

const withLost = (lost: Record<string, number>, sink: Sink): Record<string, number> =>
  sumOf(lost, sink.lost?.() ?? {});
