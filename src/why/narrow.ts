/** Which functions must be left alone so that tracing the others stays within the budget. */

export interface CalledFunction {
  name: string;
  callsPerSecond: number;
  /** Of a call that makes a span. */
  callNs: number;
}

export interface LeftOut extends CalledFunction {
  /** Of a CPU. */
  share: number;
}

/**
 * The dearest go first. Those are called most often, and so are inner ones: what a request begins in
 * is called once for each and goes last.
 */
export function tooDear(functions: readonly CalledFunction[], budget: number): LeftOut[] {
  const dearest = functions
    .map((each) => ({ ...each, share: (each.callsPerSecond * each.callNs) / 1e9 }))
    .sort((a, b) => b.share - a.share);
  let rest = dearest.reduce((sum, { share }) => sum + share, 0);
  const leftOut: LeftOut[] = [];
  for (const each of dearest) {
    if (rest <= budget) break;
    leftOut.push(each);
    rest -= each.share;
  }
  return leftOut;
}
