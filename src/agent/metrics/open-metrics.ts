/**
 * Families as OpenMetrics text. prom-client renders what it counts itself, the metrics of the
 * process; what the kernel counted comes to a hundred thousand lines, which it would render in one
 * go while the event loop stands still.
 */
import { collectDefaultMetrics, Registry, type OpenMetricsContentType } from 'prom-client';
import type { Exemplar } from './exemplars.js';
import type { Family } from './families.js';
import type { Series } from './series.js';

export const CONTENT_TYPE = Registry.OPENMETRICS_CONTENT_TYPE;

/** The exemplar of a bucket, or null. */
export type ExemplarOf = (series: Series, bucket: number) => Exemplar | null;

export class FamilyText {
  private readonly header: string;
  /** Of a histogram: how the line of each bucket begins. */
  private readonly buckets: string[];

  constructor(private readonly family: Omit<Family, 'read'>) {
    const { name, type, help, bounds = [] } = family;
    const of = type === 'counter' ? name.replace(/_total$/, '') : name;
    this.header = `# HELP ${of} ${escaped(help)}\n# TYPE ${of} ${type}\n`;
    this.buckets = [...bounds, Infinity].map(
      (bound) => `${name}_bucket{le="${canonicalNumber(bound)}"`,
    );
  }

  /** One series after the other, so that there is time between them for something else. */
  *pieces(series: readonly Series[], exemplarOf: ExemplarOf): Generator<string> {
    yield this.header;
    const { type, name } = this.family;
    for (const each of series) {
      const labels = labelText(each.labels);
      if (type === 'histogram') yield this.histogram(each, labels, exemplarOf);
      else yield `${name}${braced(labels)} ${each.counts[0] ?? 0}\n`;
    }
  }

  private histogram(series: Series, labels: string, exemplarOf: ExemplarOf): string {
    const { name } = this.family;
    const rest = labels === '' ? '} ' : `,${labels}} `;
    let lines = '';
    let count = 0;
    for (const [bucket, beginning] of this.buckets.entries()) {
      const inBucket = series.counts[bucket] ?? 0;
      count += inBucket;
      const exemplar = inBucket > 0 ? exemplarOf(series, bucket) : null;
      lines += `${beginning}${rest}${count}${exemplar ? exemplarText(exemplar) : ''}\n`;
    }
    const sum = series.counts[this.buckets.length] ?? 0;
    const own = braced(labels);
    // The kernel counts a call and its bucket one after the other; here they must agree.
    return `${lines}${name}_sum${own} ${sum}\n${name}_count${own} ${count}\n`;
  }
}

/** Its labels are 63 characters of the 128 that OpenMetrics allows. */
function exemplarText({ traceId, spanId, durationNano, endTimeUnixNano }: Exemplar): string {
  const seconds = Number(endTimeUnixNano / 1_000_000n) / 1e3;
  return ` # {trace_id="${traceId}",span_id="${spanId}"} ${durationNano / 1e9} ${seconds}`;
}

function labelText(labels: Record<string, string>): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}="${escaped(value)}"`)
    .join(',');
}

const braced = (labels: string): string => (labels === '' ? '' : `{${labels}}`);

const escaped = (text: string): string =>
  text.replace(/["\\]/g, (found) => `\\${found}`).replaceAll('\n', '\\n');

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

/** Of the agent itself; its text ends what is rendered. */
export class ProcessMetrics {
  private readonly registry = new Registry<OpenMetricsContentType>();

  constructor() {
    this.registry.setContentType(CONTENT_TYPE);
    collectDefaultMetrics({
      register: this.registry,
      // How often the event loop's delay is measured: each time wakes the process.
      eventLoopMonitoringPrecision: 100,
    });
    for (const name of MISNAMED) this.registry.removeSingleMetric(name);
  }

  text(): Promise<string> {
    return this.registry.metrics();
  }
}
