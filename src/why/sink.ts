import type { Sink, Summary } from '../sinks/sink.js';
import type { Why, WhyReport } from './analysis.js';
import type { ObservedCall, ObservedProgramSpan } from './spans.js';

/** Has all spans analysed; at the end there is a report. */
export class WhySink implements Sink {
  report: WhyReport | null = null;
  summary: Summary | null = null;

  constructor(private readonly why: Why) {}

  spans(tree: readonly ObservedCall[]): void {
    this.why.calls(tree);
  }

  programSpans(batch: readonly ObservedProgramSpan[]): void {
    this.why.programSpans(batch);
  }

  close(summary: Summary): Promise<void> {
    this.report = this.why.report();
    this.summary = summary;
    return Promise.resolve();
  }
}
