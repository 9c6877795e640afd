/** The agent's metrics as they are scraped, each with its own labels. */
import { DROPPED_SERIES, families } from '../../src/agent/metrics/families.js';

const SUFFIXES = { counter: [''], gauge: [''], histogram: ['_bucket', '_sum', '_count'] };

export const METRIC_LABELS: Readonly<Record<string, readonly string[]>> = Object.fromEntries(
  [...families({ version: '', node: '', kernel: '' }), DROPPED_SERIES].flatMap(
    ({ name, type, labels }) =>
      SUFFIXES[type].map((suffix) => [
        `${name}${suffix}`,
        suffix === '_bucket' ? [...labels, 'le'] : labels,
      ]),
  ),
);

/** What Prometheus makes itself for each target. */
export const DEFAULT_METRICS_OF_PROMETHEUS = ['up'];

/** Labels that a scrape adds; all but the last two are there in Kubernetes only. */
export const TARGET_LABELS: readonly string[] = ['namespace', 'node', 'job', 'instance'];
