/** OpenTelemetry's consistent probability sampling: the decision is a function of the trace id. */

const SPACE = 2 ** 56;

/**
 * The 56-bit rejection threshold for a share of traces (0 to 1): a trace is kept if the last seven
 * bytes of its id are not below it. 2^56, which keeps none, for a share of 0.
 */
export function sampleThreshold(share: number): bigint {
  if (!(share > 0)) return BigInt(SPACE);
  if (share >= 1) return 0n;
  // From the share and not from 1 - share, which would cut off what is below 2^-53.
  return BigInt(SPACE) - BigInt(Math.max(1, Math.round(share * SPACE)));
}
