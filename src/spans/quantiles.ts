/** Quantiles out of the kernel's histogram of durations. */
import { HISTOGRAM_FIRST_OCTAVE } from './records.generated.js';

/** Buckets an octave; bpf/statistics.bpf.h divides each at 2^(1/4), 2^(2/4) and 2^(3/4). */
const STEPS = 4;

/**
 * The duration that `share` of the calls do not exceed, in nanoseconds. A bucket is 19 % wide, so
 * its geometric middle is within 9.1 % of everything in it. The first bucket also holds what is
 * shorter and the last what is longer; the exact extremes bound both.
 */
export function quantile(
  histogram: ArrayLike<number>,
  share: number,
  minNs: number,
  maxNs: number,
): number {
  let total = 0;
  for (let bucket = 0; bucket < histogram.length; bucket++) total += histogram[bucket] ?? 0;
  if (total === 0) return 0;
  const rank = Math.min(total, Math.max(1, Math.ceil(share * total)));
  let seen = 0;
  let bucket = 0;
  while (bucket < histogram.length - 1) {
    seen += histogram[bucket] ?? 0;
    if (seen >= rank) break;
    bucket++;
  }
  if (bucket === histogram.length - 1) return maxNs;
  const middle = 2 ** (HISTOGRAM_FIRST_OCTAVE + (bucket + 0.5) / STEPS);
  return Math.min(maxNs, Math.max(minNs, Math.round(middle)));
}
