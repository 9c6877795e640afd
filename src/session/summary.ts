/** The kernel's counts and our own losses → what a session reports at its end. */
import type { FunctionSummary, Summary, ValuesSummary } from '../sinks/sink.js';
import { quantile } from '../spans/quantiles.js';
import type { SpansByValue } from '../spans/spans-by-value.js';
import { waitsByReason } from '../spans/waits.js';
import { LostReason } from '../spans/records.generated.js';
import { type FunctionStatistics, LOST_REASONS } from './statistics.js';

/** Losses that the kernel counts, as they are named in outputs. */
const KERNEL_REASONS: Record<number, string> = {
  [LostReason.TOO_SHORT]: 'tooShort',
  [LostReason.UNSAMPLED]: 'unsampled',
  [LostReason.SAMPLED_OUT]: 'sampledOut',
  [LostReason.RATE]: 'rate',
  [LostReason.ROOTLESS]: 'rootless',
  [LostReason.TOO_DEEP]: 'tooDeep',
  [LostReason.UNREADABLE]: 'unreadable',
  [LostReason.RING_FULL]: 'ringFull',
  [LostReason.TABLE_FULL]: 'tableFull',
  [LostReason.UNPAIRED]: 'unpaired',
  [LostReason.ENTRY_ONLY]: 'entryOnly',
  [LostReason.GOVERNOR]: 'governor',
};

/** Others are together. */
const MOST_VALUES = 20;

export interface CountedFunction {
  name: string;
  sites: number;
  /** Records of its calls that became no span, as user space counted them. */
  unsent: number;
}

/** Calls that made no span, as the kernel counted them; a reason that did not occur is 0. */
export function lostInKernel(statistics: readonly FunctionStatistics[]): Record<string, number> {
  const lost: Record<string, number> = {};
  for (let reason = 0; reason < LOST_REASONS; reason++) {
    const name = KERNEL_REASONS[reason] ?? `reason${reason}`;
    lost[name] = statistics.reduce((sum, each) => sum + (each.lost[reason] ?? 0), 0);
  }
  return lost;
}

export function summarize(
  functions: readonly (CountedFunction | undefined)[],
  statistics: readonly FunctionStatistics[],
  /** Of `lost` what the kernel has not counted. */
  rest: Pick<Summary, 'lost' | 'allocations' | 'suspensions' | 'overhead'>,
): Summary {
  const lost = lostInKernel(statistics);
  for (const [reason, count] of Object.entries(rest.lost)) {
    lost[reason] = (lost[reason] ?? 0) + count;
  }
  const rows: FunctionSummary[] = [];
  functions.forEach((named, index) => {
    const counted = statistics[index];
    if (named && counted) rows.push(summarizeFunction(named, counted));
  });
  const sum = (of: (counted: FunctionStatistics) => number): number =>
    statistics.reduce((total, counted) => total + of(counted), 0);
  const contexts = {
    unreadable: sum(({ contextsUnreadable }) => contextsUnreadable),
    truncated: sum(({ contextsTruncated }) => contextsTruncated),
  };
  const valuesLost = sum((counted) => counted.valuesLost);
  const waitsLost = sum((counted) => counted.waitsLost);
  return { ...rest, functions: rows, lost, contexts, valuesLost, waitsLost };
}

function summarizeFunction(named: CountedFunction, counted: FunctionStatistics): FunctionSummary {
  const { minNs, maxNs, histogram } = counted;
  return {
    name: named.name,
    sites: named.sites,
    calls: counted.calls,
    spans: counted.spans - named.unsent,
    errors: counted.errors,
    foreign: counted.foreign,
    minNano: minNs,
    p50Nano: quantile(histogram, 0.5, minNs, maxNs),
    p99Nano: quantile(histogram, 0.99, minNs, maxNs),
    maxNano: maxNs,
    totalNano: counted.totalNs,
    selfNano: counted.selfNs,
    waitedNano: waitsByReason(counted.waitedNs),
    watchedCalls: counted.watchedCalls,
  };
}

export function summarizeValues(spans: SpansByValue): ValuesSummary {
  const values = spans.rows(MOST_VALUES).map(({ functions, totalNs, maxNs, ...row }) => ({
    kind: row.kind,
    value: row.value,
    requests: row.requests,
    totalNano: totalNs,
    maxNano: maxNs,
    functions: [...functions]
      .map(([name, { calls, ...times }]) => ({
        ...{ name, calls, totalNano: times.totalNs, maxNano: times.maxNs },
      }))
      .sort((a, b) => b.totalNano - a.totalNano || b.calls - a.calls),
  }));
  return { key: spans.key, values };
}
