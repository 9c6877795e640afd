/** Requests, and the spans beneath them, by a value; what there is no room for is counted together. */
import type { ProgramSpanRecord } from './call.js';
import type { AttributeValue } from './span.js';

export interface FunctionTimes {
  calls: number;
  totalNs: number;
  maxNs: number;
}

/** By the function's name. */
export type Times = Map<string, FunctionTimes>;

/** One row. */
export interface ValueCounts {
  /** none: the request has no value. unknown: it could not be read, or is not known. */
  kind: 'value' | 'other' | 'none' | 'unknown';
  value: AttributeValue | null;
  requests: number;
  /** Of the requests. */
  totalNs: number;
  maxNs: number;
  functions: Times;
}

export interface ValueTableOptions {
  maxValues?: number;
  /** Functions of all values together. */
  maxFunctions?: number;
}

interface Row extends ValueCounts {
  /** Requests that have been counted. */
  seen: WeakSet<ProgramSpanRecord>;
}

/** Of a value, what is together since there is no room. */
export const OTHER_FUNCTIONS = 'other functions';

const newRow = (kind: Row['kind'], value: Row['value'] = null): Row => ({
  ...{ kind, value, requests: 0, totalNs: 0, maxNs: 0 },
  functions: new Map(),
  seen: new WeakSet(),
});

export class ValueTable {
  private readonly values = new Map<AttributeValue, Row>();
  private readonly none = newRow('none');
  private readonly unknown = newRow('unknown');
  private readonly other = newRow('other');
  private readonly maxValues: number;
  private readonly maxFunctions: number;
  private functions = 0;

  constructor({ maxValues = 1_000, maxFunctions = 50_000 }: ValueTableOptions) {
    this.maxValues = maxValues;
    this.maxFunctions = maxFunctions;
  }

  /**
   * Value: undefined is none, null is unknown. Request: what has been counted for the value is not
   * counted again; null is one of its own.
   */
  add(
    value: AttributeValue | null | undefined,
    times: Times,
    request: ProgramSpanRecord | null,
    durationNs: number,
  ): void {
    const row = this.rowOf(value);
    if (!request || !row.seen.has(request)) {
      if (request) row.seen.add(request);
      row.requests++;
      row.totalNs += durationNs;
      row.maxNs = Math.max(row.maxNs, durationNs);
    }
    for (const [name, added] of times) {
      const known = row.functions.has(name);
      if (known || this.functions < this.maxFunctions) {
        if (!known) this.functions++;
        addTimes(row.functions, name, added);
      } else {
        addTimes(row.functions, OTHER_FUNCTIONS, added);
      }
    }
  }

  /** `most` values, by the time of their requests; the rest is with the others. */
  rows(most: number): ValueCounts[] {
    const sorted = [...this.values.values()].sort(
      (a, b) => b.totalNs - a.totalNs || b.requests - a.requests,
    );
    const other = newRow('other');
    for (const row of [this.other, ...sorted.slice(most)]) merge(other, row);
    return [...sorted.slice(0, most), other, this.none, this.unknown].filter(
      ({ requests }) => requests > 0,
    );
  }

  private rowOf(value: AttributeValue | null | undefined): Row {
    if (value === undefined) return this.none;
    if (value === null) return this.unknown;
    const known = this.values.get(value);
    if (known) return known;
    if (this.values.size >= this.maxValues) return this.other;
    const row = newRow('value', value);
    this.values.set(value, row);
    return row;
  }
}

export function addTimes(to: Times, name: string, { calls, totalNs, maxNs }: FunctionTimes): void {
  const known = to.get(name);
  if (!known) {
    to.set(name, { calls, totalNs, maxNs });
    return;
  }
  known.calls += calls;
  known.totalNs += totalNs;
  known.maxNs = Math.max(known.maxNs, maxNs);
}

function merge(into: Row, row: Row): void {
  into.requests += row.requests;
  into.totalNs += row.totalNs;
  into.maxNs = Math.max(into.maxNs, row.maxNs);
  for (const [name, added] of row.functions) addTimes(into.functions, name, added);
}
