import type { TraceOptions } from '../../src/engine.js';

/** What the command line would make of `attach --pid PID PATTERN`, without a sink. */
export function traceOptions(
  pid: number,
  pattern: string,
  others: Partial<TraceOptions> = {},
): TraceOptions {
  return {
    selection: {
      pids: [pid],
      exes: [],
      comms: [],
      containers: [],
      services: [],
      command: null,
      waitMs: 0,
    },
    symbols: [pattern],
    handlers: [],
    exclude: [],
    minDurationNs: 0,
    slowerThanNs: null,
    errorsOnly: false,
    fold: 0,
    sample: 1,
    maxRate: 0,
    followForks: true,
    entryOnly: false,
    contextHops: 32,
    emulateReturns: true,
    returnTrampoline: false,
    args: [],
    returns: false,
    stack: false,
    errorText: true,
    errors: null,
    redact: [],
    roots: true,
    unsampled: false,
    maxOverhead: 1,
    maxFunctions: 500,
    transport: 'ring',
    ringBytes: 1 << 22,
    sinks: [],
    ...others,
  };
}
