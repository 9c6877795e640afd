/** What /metrics says: a snapshot of the agent, and what Node knows of its process. */
import { release } from 'node:os';
import type { Exemplar, Exemplars } from './metrics/exemplars.js';
import { DROPPED_SERIES, families, type Family } from './metrics/families.js';
import { OpenMetrics } from './metrics/open-metrics.js';
import { SeriesOf, type Series } from './metrics/series.js';
import type { AgentSnapshot } from './snapshot.js';

export interface AgentMetricsOptions {
  snapshot: () => Promise<AgentSnapshot> | AgentSnapshot;
  version: string;
  /** Of each metric; a histogram counts as one. */
  maxSeries: number;
  exemplars?: Exemplars;
}

export interface Rendered {
  contentType: string;
  body: string;
}

interface Shown {
  family: Family;
  reduce: SeriesOf;
  target: { series: Series[] };
}

/**
 * Always OpenMetrics: it is what Prometheus asks for, the only format with exemplars, and
 * prom-client cannot change the format of its counters once it has rendered them.
 */
export class AgentMetrics {
  private readonly output = new OpenMetrics();
  private readonly shown: Shown[];
  private readonly dropped: { series: Series[] };
  private nowUnixNano = 0n;

  constructor(private readonly options: AgentMetricsOptions) {
    const { version, maxSeries } = options;
    const exemplarOf = (series: Series, bucket: number): Exemplar | null =>
      this.exemplarOf(series, bucket);
    const build = { version, node: process.versions.node, kernel: release() };
    this.shown = families(build).map((family) => ({
      family,
      reduce: new SeriesOf(family, maxSeries),
      target: this.output.add(family, exemplarOf),
    }));
    this.dropped = this.output.add(DROPPED_SERIES, exemplarOf);
  }

  async render(): Promise<Rendered> {
    const snapshot = await this.options.snapshot();
    this.options.exemplars?.keep(new Set(snapshot.functions.map(({ index }) => index)));
    this.nowUnixNano = BigInt(Date.now()) * 1_000_000n;
    for (const { family, reduce, target } of this.shown) {
      target.series = reduce.from(family.read(snapshot));
    }
    this.dropped.series = this.shown.map(({ family, reduce }) => ({
      labels: { metric: family.name },
      counts: [reduce.dropped],
      functionIndexes: [],
    }));
    return { contentType: this.output.contentType, body: await this.output.render() };
  }

  /** The latest of all functions that the series is made of. */
  private exemplarOf({ functionIndexes }: Series, bucket: number): Exemplar | null {
    let latest: Exemplar | null = null;
    for (const index of functionIndexes) {
      const exemplar = this.options.exemplars?.latest(index, bucket, this.nowUnixNano) ?? null;
      if (!exemplar) continue;
      if (!latest || exemplar.endTimeUnixNano > latest.endTimeUnixNano) latest = exemplar;
    }
    return latest;
  }
}
