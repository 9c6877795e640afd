/** The kernel's exact counts, summed over their shards. */
import type { BpfMap } from '../native/native.js';
import { HISTOGRAM_BUCKETS, LostReason, statistics } from '../spans/records.generated.js';

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
  /** Hits in the kernel that were no call of the program's: in interrupts, or for a probe. */
  foreign: number;
  totalNs: number;
  selfNs: number;
  /** 0 where no call has ended. */
  minNs: number;
  maxNs: number;
  /** By LostReason. */
  lost: number[];
  histogram: number[];
}

const NOTHING = Buffer.alloc(statistics.size);
const ALL_ONES = 0xffff_ffff_ffff_ffffn;

/** Functions [0, count) of the map `statistics`; the first is that of the support sites. */
export function readStatistics(map: BpfMap, count: number, shards: number): FunctionStatistics[] {
  const data = map.read(0, count * shards);
  // Not by BigInt: a scrape would make a million of them.
  const number = (at: number): number =>
    data.readUInt32LE(at) + data.readUInt32LE(at + 4) * 2 ** 32;
  return Array.from({ length: count }, (_, index) => {
    const sum = emptyStatistics();
    let inverseMin = 0n;
    for (let shard = 0; shard < shards; shard++) {
      const at = (index * shards + shard) * statistics.size;
      // Most functions are never called.
      if (NOTHING.compare(data, at, at + statistics.size) === 0) continue;
      sum.calls += number(at + statistics.calls);
      sum.returns += number(at + statistics.returns);
      sum.errors += number(at + statistics.errors);
      sum.spans += number(at + statistics.spans);
      sum.unpairedReturns += number(at + statistics.unpairedReturns);
      sum.contextsUnreadable += number(at + statistics.contextsUnreadable);
      sum.contextsTruncated += number(at + statistics.contextsTruncated);
      sum.foreign += number(at + statistics.foreign);
      sum.valuesLost += number(at + statistics.valuesLost);
      sum.totalNs += number(at + statistics.totalNs);
      sum.selfNs += number(at + statistics.selfNs);
      sum.maxNs = Math.max(sum.maxNs, number(at + statistics.maxNs));
      const inverse = data.readBigUInt64LE(at + statistics.inverseMinNs);
      if (inverse > inverseMin) inverseMin = inverse;
      for (let reason = 0; reason < LOST_REASONS; reason++) {
        sum.lost[reason] = (sum.lost[reason] ?? 0) + number(at + statistics.lost + reason * 8);
      }
      for (let bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        sum.histogram[bucket] =
          (sum.histogram[bucket] ?? 0) + number(at + statistics.histogram + bucket * 8);
      }
    }
    sum.minNs = inverseMin === 0n ? 0 : Number(ALL_ONES - inverseMin);
    return sum;
  });
}

function emptyStatistics(): FunctionStatistics {
  return {
    calls: 0,
    returns: 0,
    errors: 0,
    spans: 0,
    unpairedReturns: 0,
    contextsUnreadable: 0,
    contextsTruncated: 0,
    valuesLost: 0,
    foreign: 0,
    totalNs: 0,
    selfNs: 0,
    minNs: 0,
    maxNs: 0,
    lost: new Array<number>(LOST_REASONS).fill(0),
    histogram: new Array<number>(HISTOGRAM_BUCKETS).fill(0),
  };
}
