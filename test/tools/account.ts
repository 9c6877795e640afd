import type { OpenMetricsText } from './openmetrics.js';

/** What an agent says became of the calls that it saw. */
export interface Account {
  /** Calls of functions whose probes are still there. */
  calls: number;
  /** Spans handed to the sinks. */
  spans: number;
  delivered: number;
  repeated: number;
  /** Spans that wait in memory and on disk. */
  waiting: number;
  /** By reason; only what occurred. */
  lost: Record<string, number>;
  allLost: number;
}

export function accountOf(metrics: OpenMetricsText): Account {
  const sum = (name: string, labels: Record<string, string> = {}): number =>
    metrics.samples(name, labels).reduce((total, { value }) => total + value, 0);
  const lost: Record<string, number> = {};
  for (const { labels, value } of metrics.samples('underspan_lost_calls_total')) {
    if (value > 0) lost[labels['reason'] ?? ''] = value;
  }
  return {
    calls: sum('underspan_function_calls_total'),
    spans: sum('underspan_spans_total'),
    delivered: sum('underspan_exporter_delivered_spans_total'),
    repeated: sum('underspan_exporter_repeated_spans_total'),
    waiting: sum('underspan_exporter_queue_spans') + sum('underspan_exporter_spool_spans'),
    lost,
    allLost: Object.values(lost).reduce((total, count) => total + count, 0),
  };
}
