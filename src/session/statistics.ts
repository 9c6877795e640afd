/** The kernel's exact counts, summed over their shards. */
import type { BpfMap } from '../native/native.js';
import { HISTOGRAM_BUCKETS, LostReason, statistics, WaitKind } from '../spans/records.generated.js';

export const LOST_REASONS = LostReason.REASONS;

/** Counts and times of one function; times in nanoseconds. */
export interface FunctionStatistics {
  calls: number;
  returns: number;
  errors: number;
  spans: number;
  unpairedReturns: number;
  contextsUnreadable: number;
  contextsTruncated: number;
  valuesLost: number;
  waitsLost: number;
  watchedCalls: number;
  /** Hits in the kernel that were no call of the program's: in interrupts, or for a probe. */
  foreign: number;
  totalNs: number;
  selfNs: number;
  /** 0 where no call has ended. */
  minNs: number;
  maxNs: number;
  /** By WaitKind. */
  waitedNs: number[];
  /** Bytes, and the samples or spans of memory that they were seen by. */
  allocated: number;
  allocations: number;
  /** By LostReason. */
  lost: number[];
  histogram: number[];
}

/** Of an element; all are numbers of 64 bits. */
const FIELDS = statistics.size / 8;
const MAX = statistics.maxNs / 8;
const INVERSE_MIN = statistics.inverseMinNs / 8;

/** Functions [0, count) of the map `statistics`; the first is that of the support sites. */
export function readStatistics(map: BpfMap, count: number, shards: number): FunctionStatistics[] {
  const data = map.read(0, count * shards);
  // Not as BigInt, nor number by number out of the Buffer: a scrape would read a million of them.
  const words = new Uint32Array(data.buffer, data.byteOffset, data.length / 4);
  const fields = new Float64Array(FIELDS);
  return Array.from({ length: count }, (_, index) => {
    fields.fill(0);
    const minNs = addShards(fields, words, index * shards, shards);
    return fromFields(fields, minNs);
  });
}

/** Adds up the elements from `first` on; returns the least duration, 0 where there is none. */
function addShards(
  fields: Float64Array,
  words: Uint32Array,
  first: number,
  shards: number,
): number {
  let minNs = 0;
  for (let shard = first; shard < first + shards; shard++) {
    for (let field = 0, at = shard * FIELDS * 2; field < FIELDS; field++, at += 2) {
      const low = words[at] ?? 0;
      const high = words[at + 1] ?? 0;
      if (low === 0 && high === 0) continue;
      const value = low + high * 2 ** 32;
      const sum = fields[field] ?? 0;
      if (field === MAX) fields[field] = Math.max(sum, value);
      else if (field === INVERSE_MIN) {
        const min = (~low >>> 0) + (~high >>> 0) * 2 ** 32;
        minNs = minNs === 0 ? min : Math.min(minNs, min);
      } else fields[field] = sum + value;
    }
  }
  return minNs;
}

function fromFields(fields: Float64Array, minNs: number): FunctionStatistics {
  const of = (offset: number): number => fields[offset / 8] ?? 0;
  // Array.from() takes ten times as long.
  const list = (offset: number, length: number): number[] => {
    const numbers = new Array<number>(length);
    for (let i = 0; i < length; i++) numbers[i] = fields[offset / 8 + i] ?? 0;
    return numbers;
  };
  return {
    calls: of(statistics.calls),
    returns: of(statistics.returns),
    errors: of(statistics.errors),
    spans: of(statistics.spans),
    unpairedReturns: of(statistics.unpairedReturns),
    contextsUnreadable: of(statistics.contextsUnreadable),
    contextsTruncated: of(statistics.contextsTruncated),
    valuesLost: of(statistics.valuesLost),
    waitsLost: of(statistics.waitsLost),
    watchedCalls: of(statistics.watchedCalls),
    foreign: of(statistics.foreign),
    totalNs: of(statistics.totalNs),
    selfNs: of(statistics.selfNs),
    minNs,
    maxNs: of(statistics.maxNs),
    allocated: of(statistics.allocated),
    allocations: of(statistics.allocations),
    waitedNs: list(statistics.waitedNs, WaitKind.KINDS),
    lost: list(statistics.lost, LOST_REASONS),
    histogram: list(statistics.histogram, HISTOGRAM_BUCKETS),
  };
}
