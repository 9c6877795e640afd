/** Which functions must be left alone so that tracing the others stays within the budget. */

export interface CalledFunction {
  name: string;
  callsPerSecond: number;
  /** Of a call that makes a span. */
  callNs: number;
}

/** Of a CPU. */
export const shareOf = ({ callsPerSecond, callNs }: CalledFunction): number =>
  (callsPerSecond * callNs) / 1e9;

/**
 * The dearest go first. Those are called most often, and so are inner ones: what a request begins in
 * is called once for each and goes last.
 */
export function tooDear(functions: readonly CalledFunction[], budget: number): CalledFunction[] {
  const dearest = [...functions].sort((a, b) => shareOf(b) - shareOf(a));
  let rest = dearest.reduce((sum, each) => sum + shareOf(each), 0);
  const leftOut: CalledFunction[] = [];
  for (const each of dearest) {
    if (rest <= budget) break;
    leftOut.push(each);
    rest -= shareOf(each);
  }
  return leftOut;
}
