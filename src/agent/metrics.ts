/** What /metrics says: a snapshot of the agent, and what Node knows of its process. */
import { release } from 'node:os';
import { setImmediate as turn } from 'node:timers/promises';
import type { Exemplar, Exemplars } from './metrics/exemplars.js';
import { DROPPED_SERIES, families, type Family } from './metrics/families.js';
import {
  CONTENT_TYPE,
  type ExemplarOf,
  FamilyText,
  ProcessMetrics,
} from './metrics/open-metrics.js';
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
  text: FamilyText;
}

/** How long it renders until others have their turn, in ms: spans are decoded on the same loop. */
const SLICE_MS = 10;

/** Always OpenMetrics: it is what Prometheus asks for, and the only format with exemplars. */
export class AgentMetrics {
  private readonly process = new ProcessMetrics();
  private readonly shown: Shown[];
  private readonly dropped = new FamilyText(DROPPED_SERIES);

  constructor(private readonly options: AgentMetricsOptions) {
    const { version, maxSeries } = options;
    const build = { version, node: process.versions.node, kernel: release() };
    this.shown = families(build).map((family) => ({
      family,
      reduce: new SeriesOf(family, maxSeries),
      text: new FamilyText(family),
    }));
  }

  async render(): Promise<Rendered> {
    const snapshot = await this.options.snapshot();
    const exemplarOf = this.exemplarsOf(snapshot);
    const parts: string[] = [];
    let since = performance.now();
    const add = async (pieces: Iterable<string>): Promise<void> => {
      for (const piece of pieces) {
        parts.push(piece);
        if (performance.now() - since < SLICE_MS) continue;
        await turn();
        since = performance.now();
      }
    };
    for (const { family, reduce, text } of this.shown) {
      await add(text.pieces(reduce.from(family.read(snapshot)), exemplarOf));
    }
    await add(this.dropped.pieces(this.droppedSeries(), exemplarOf));
    parts.push(await this.process.text());
    return { contentType: CONTENT_TYPE, body: parts.join('') };
  }

  private droppedSeries(): Series[] {
    return this.shown.map(({ family, reduce }) => ({
      labels: { metric: family.name },
      counts: [reduce.dropped],
      functionIndexes: [],
    }));
  }

  /** The latest of all functions that a series is made of. */
  private exemplarsOf({ functions }: AgentSnapshot): ExemplarOf {
    const { exemplars } = this.options;
    if (!exemplars) return () => null;
    exemplars.keep(new Set(functions.map(({ index }) => index)));
    // Before all is rendered a function's number may be another's.
    const latestOf = exemplars.latestOf(BigInt(Date.now()) * 1_000_000n);
    return ({ functionIndexes }, bucket) => {
      let latest: Exemplar | null = null;
      for (const index of functionIndexes) {
        const exemplar = latestOf(index, bucket);
        if (!exemplar) continue;
        if (!latest || exemplar.endTimeUnixNano > latest.endTimeUnixNano) latest = exemplar;
      }
      return latest;
    };
  }
}
