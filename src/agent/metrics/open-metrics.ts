/**
 * Values that were counted elsewhere, as prom-client renders them. Its own classes can only be
 * incremented and observed into; what its registry asks of a metric is no more than get().
 */
import {
  collectDefaultMetrics,
  Registry,
  type Metric,
  type OpenMetricsContentType,
} from 'prom-client';
import type { Exemplar } from './exemplars.js';
import type { Family } from './families.js';
import type { Series } from './series.js';

/** The exemplar of a bucket, or null. */
export type ExemplarOf = (series: Series, bucket: number) => Exemplar | null;

interface Value {
  labels: Record<string, string>;
  /** Rendered once for all values that share the object. */
  sharedLabels: Record<string, string>;
  value: number;
  metricName?: string;
  exemplar?: { labelSet: Record<string, string>; value: number; timestamp: number };
}

const NO_LABELS = {};

/** What prom-client's registry asks for. It takes the _total from a counter's name itself. */
class Metrics {
  series: Series[] = [];
  name: string;
  /** Of a histogram; made once, since there are tens of thousands of buckets in a scrape. */
  private readonly bounds: { le: string }[];

  constructor(
    private readonly family: Omit<Family, 'read'>,
    private readonly exemplarOf: ExemplarOf,
  ) {
    this.name = family.name;
    this.bounds = [...(family.bounds ?? []), Infinity].map((bound) => ({
      le: canonicalNumber(bound),
    }));
  }

  get type(): string {
    return this.family.type;
  }

  get(): Promise<{ name: string; help: string; type: string; values: Value[] }> {
    const { type, help } = this.family;
    const values =
      type === 'histogram'
        ? this.series.flatMap((series) => this.histogram(series))
        : this.series.map(({ labels, counts }) => ({
            labels: NO_LABELS,
            sharedLabels: labels,
            value: counts[0] ?? 0,
          }));
    return Promise.resolve({ name: this.name, help, type, values });
  }

  private histogram(series: Series): Value[] {
    const values: Value[] = [];
    const add = (suffix: string, value: number, labels = NO_LABELS): Value => {
      const metricName = this.name + suffix;
      const added = { labels, sharedLabels: series.labels, value, metricName };
      values.push(added);
      return added;
    };
    let count = 0;
    for (const [bucket, bound] of this.bounds.entries()) {
      const inBucket = series.counts[bucket] ?? 0;
      count += inBucket;
      const added = add('_bucket', count, bound);
      const exemplar = inBucket > 0 ? this.exemplarOf(series, bucket) : null;
      if (exemplar) added.exemplar = rendered(exemplar);
    }
    add('_sum', series.counts[this.bounds.length] ?? 0);
    // The kernel counts a call and its bucket one after the other; here they must agree.
    add('_count', count);
    return values;
  }
}

/** 63 characters of the 128 that OpenMetrics allows. */
function rendered({ traceId, spanId, durationNano, endTimeUnixNano }: Exemplar) {
  return {
    labelSet: { trace_id: traceId, span_id: spanId },
    value: durationNano / 1e9,
    timestamp: Number(endTimeUnixNano / 1_000_000n) / 1e3,
  };
}

/** As Prometheus and Go write a bound (1.0, 1.024e-06): as a label it is compared as text. */
export function canonicalNumber(value: number): string {
  if (value === Infinity) return '+Inf';
  if (value !== 0 && value < 1e-4) return value.toExponential().replace(/e-(\d)$/, 'e-0$1');
  return Number.isInteger(value) ? value.toFixed(1) : String(value);
}

/** Gauges that are called as counters are, which promtool reports; those they sum up are there. */
const MISNAMED = [
  'nodejs_active_handles_total',
  'nodejs_active_requests_total',
  'nodejs_active_resources_total',
];

export class OpenMetrics {
  readonly contentType = Registry.OPENMETRICS_CONTENT_TYPE;
  private readonly registry = new Registry<OpenMetricsContentType>();

  constructor() {
    this.registry.setContentType(this.contentType);
    collectDefaultMetrics({
      register: this.registry,
      // How often the event loop's delay is measured: each time wakes the process.
      eventLoopMonitoringPrecision: 100,
    });
    for (const name of MISNAMED) this.registry.removeSingleMetric(name);
  }

  /** What is put into `series` of the result is what is rendered. */
  add(family: Omit<Family, 'read'>, exemplarOf: ExemplarOf): { series: Series[] } {
    const metrics = new Metrics(family, exemplarOf);
    this.registry.registerMetric(metrics as unknown as Metric);
    return metrics;
  }

  render(): Promise<string> {
    return this.registry.metrics();
  }
}
