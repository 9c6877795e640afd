/** From the kernel's buckets of durations to those of underspan_function_duration_seconds. */
import { HISTOGRAM_FIRST_OCTAVE } from '../../spans/records.generated.js';

const FIRST_OCTAVE = 10;
const LAST_OCTAVE = 35;

/** bpf/statistics.bpf.h divides each octave by four. */
const STEPS = 4;

/** Bounds that the kernel has too, one an octave, so that nothing has to be estimated. */
export const DURATION_BOUNDS_NS: readonly number[] = Array.from(
  { length: LAST_OCTAVE - FIRST_OCTAVE + 1 },
  (_, index) => 2 ** (FIRST_OCTAVE + index),
);

/** With the one that has no bound. */
export const DURATION_BUCKETS = DURATION_BOUNDS_NS.length + 1;

/** Not cumulative. */
export function durationBuckets(histogram: readonly number[]): number[] {
  const buckets = new Array<number>(DURATION_BUCKETS).fill(0);
  histogram.forEach((count, bucket) => {
    const end = HISTOGRAM_FIRST_OCTAVE + Math.floor(bucket / STEPS) + 1;
    const index = Math.min(Math.max(end - FIRST_OCTAVE, 0), DURATION_BUCKETS - 1);
    buckets[index] = (buckets[index] ?? 0) + count;
  });
  return buckets;
}

/**
 * Where a duration belongs as `le` is defined: at most the bound. The kernel's buckets begin with
 * their bound, so that it counts a duration of exactly 2^n ns one bucket higher.
 */
export function durationBucket(ns: number): number {
  if (ns <= 2 ** FIRST_OCTAVE) return 0;
  return Math.min(Math.ceil(Math.log2(ns)) - FIRST_OCTAVE, DURATION_BUCKETS - 1);
}
