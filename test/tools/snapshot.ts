/** Snapshots of an agent that does not run. */
import type { AgentSnapshot, FunctionSnapshot } from '../../src/agent/snapshot.js';
import type { FunctionSpan } from '../../src/spans/span.js';
import { HISTOGRAM_BUCKETS, HISTOGRAM_FIRST_OCTAVE } from '../../src/spans/records.generated.js';

export function emptySnapshot(): AgentSnapshot {
  return {
    attachments: [],
    functions: [],
    http: [],
    httpUncounted: [],
    gcPauses: [],
    lost: {},
    spans: 0,
    gcSpans: 0,
    detached: {},
    refused: [],
    rules: [],
    hostBudget: Infinity,
    programs: [],
    maps: [],
    sinks: [],
    targets: 0,
  };
}

/** A function whose calls took these times. */
export function functionSnapshot(
  labels: Partial<Pick<FunctionSnapshot, 'rule' | 'executable' | 'name' | 'index' | 'spans'>>,
  durations: readonly number[],
  errors = 0,
): FunctionSnapshot {
  const histogram = new Array<number>(HISTOGRAM_BUCKETS).fill(0);
  let totalNs = 0;
  for (const duration of durations) {
    const bucket = kernelBucket(BigInt(duration));
    histogram[bucket] = (histogram[bucket] ?? 0) + 1;
    totalNs += duration;
  }
  return {
    rule: 'shop',
    executable: '/app/shop',
    name: 'main.work',
    index: 1,
    spans: 0,
    ...labels,
    statistics: {
      calls: durations.length,
      returns: durations.length,
      errors,
      spans: 0,
      unpairedReturns: 0,
      contextsUnreadable: 0,
      contextsTruncated: 0,
      valuesLost: 0,
      waitsLost: 0,
      watchedCalls: 0,
      foreign: 0,
      totalNs,
      selfNs: totalNs,
      minNs: Math.min(...durations),
      maxNs: Math.max(...durations),
      waitedNs: [],
      allocated: 0,
      allocations: 0,
      lost: [],
      histogram,
    },
  };
}

/** histogram_bucket() of bpf/statistics.bpf.h. */
export function kernelBucket(ns: bigint): number {
  if (ns < 1n << BigInt(HISTOGRAM_FIRST_OCTAVE)) return 0;
  const octave = ns.toString(2).length - 1;
  const mantissa = BigInt.asUintN(64, ns << BigInt(63 - octave)) >> 32n;
  const quarters = [2_553_802_834n, 3_037_000_500n, 3_611_622_604n];
  const quarter = quarters.filter((start) => mantissa >= start).length;
  return Math.min(4 * (octave - HISTOGRAM_FIRST_OCTAVE) + quarter, HISTOGRAM_BUCKETS - 1);
}

let spans = 0;

/** A span of its own ids that ends now, unless it says otherwise. */
export function functionSpan(
  functionIndex: number,
  durationNano: number,
  endTimeUnixNano = BigInt(Date.now()) * 1_000_000n,
): FunctionSpan {
  const id = (++spans).toString(16);
  return {
    traceId: id.padStart(32, '0'),
    spanId: id.padStart(16, '0'),
    parentSpanId: null,
    traceFlags: 1,
    name: 'main.work',
    startTimeUnixNano: endTimeUnixNano - BigInt(durationNano),
    endTimeUnixNano,
    durationNano,
    status: { code: 'unset' },
    attributes: {},
    resource: { attributes: {} },
    functionIndex,
  };
}

/** Of a rule whose budget pays for all. */
export const UNGOVERNED = {
  thinned: false,
  counted: 0,
  withdrawn: 0,
  withdrawals: 0,
  suspended: 0,
  unwatched: false,
  suspensions: 0,
};
