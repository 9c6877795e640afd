/** From the rows of a family to its series: one for each set of labels, and not too many. */
import type { Family, Row } from './families.js';

export interface Series {
  labels: Record<string, string>;
  counts: number[];
  functionIndexes: number[];
}

/** Names come out of executables and of requests: a label must not become larger than a page. */
const LABEL_LENGTH = 512;

interface Merged {
  labels: string[];
  counts: number[];
  rank: number;
  functionIndexes: number[];
}

/** What a counter was when it was last read, and by how much it had gone back before. */
interface Seen {
  counts: number[];
  /** null: it never did. */
  gone: number[] | null;
}

export class SeriesOf {
  /** Series that were left out last time. */
  dropped = 0;
  private seen = new Map<string, Seen>();

  constructor(
    readonly family: Omit<Family, 'read'>,
    private readonly maxSeries: number,
  ) {}

  from(rows: readonly Row[]): Series[] {
    const merged = merge(rows);
    if (this.family.type !== 'gauge') this.keepFromGoingBack(merged);
    const all = [...merged].sort(
      ([keyA, a], [keyB, b]) => b.rank - a.rank || (keyA < keyB ? -1 : 1),
    );
    const kept = all.slice(0, this.maxSeries);
    this.dropped = all.length - kept.length;
    return kept.map(([, { labels, counts, functionIndexes }]) => ({
      labels: Object.fromEntries(this.family.labels.map((name, at) => [name, labels[at] ?? ''])),
      counts,
      functionIndexes,
    }));
  }

  /**
   * Two executables of the same path, in two containers or before and after a deployment, are one
   * series. When one of them goes, the sum goes back; whoever reads it would take that for a
   * restart, and count all of what is left a second time.
   */
  private keepFromGoingBack(merged: Map<string, Merged>): void {
    const now = new Map<string, Seen>();
    for (const [key, series] of merged) {
      const before = this.seen.get(key);
      if (this.family.catchesUp) {
        series.counts = series.counts.map((count, at) => Math.max(count, before?.counts[at] ?? 0));
      }
      const gone = before ? goneSince(before, series.counts) : null;
      now.set(key, { counts: series.counts, gone });
      if (gone) series.counts = series.counts.map((count, at) => count + (gone[at] ?? 0));
    }
    this.seen = now;
  }
}

function goneSince({ counts, gone }: Seen, now: readonly number[]): number[] | null {
  if (now.every((count, at) => count >= (counts[at] ?? 0))) return gone;
  return now.map((count, at) => (gone?.[at] ?? 0) + Math.max(0, (counts[at] ?? 0) - count));
}

function merge(rows: readonly Row[]): Map<string, Merged> {
  const merged = new Map<string, Merged>();
  for (const row of rows) {
    const labels = row.labels.map(labelValue);
    const key = JSON.stringify(labels);
    const rank = row.rank ?? row.counts[0] ?? 0;
    const functionIndexes = row.functionIndex === undefined ? [] : [row.functionIndex];
    const same = merged.get(key);
    if (same) {
      same.counts = same.counts.map((count, at) => count + (row.counts[at] ?? 0));
      same.rank += rank;
      same.functionIndexes.push(...functionIndexes);
    } else {
      merged.set(key, { labels, counts: row.counts, rank, functionIndexes });
    }
  }
  return merged;
}

/** Prometheus takes a NUL for the end of its input. */
function labelValue(text: string): string {
  const short = text.length > LABEL_LENGTH ? `${text.slice(0, LABEL_LENGTH - 1)}…` : text;
  return short.replaceAll('\0', '\ufffd');
}
