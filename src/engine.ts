import type { Sink } from './sinks/sink.js';

/** Which processes. All kinds that are given must hold; within a kind any may. */
export interface Selection {
  pids: number[];
  exes: string[];
  comms: string[];
  containers: string[];
  services: string[];
  /** A command that is started, and traced from its first instruction; null: none. */
  command: string[] | null;
  /** How long to wait for a first process that fits, in ms; 0: not at all. */
  waitMs: number;
}

/** What to trace and what to keep. Durations in nanoseconds. */
export interface TraceOptions {
  selection: Selection;
  /** Patterns as the user wrote them, [MODULE:]NAME. */
  symbols: string[];
  exclude: string[];
  minDurationNs: number;
  /** Only trees whose outermost call was slower; null: all. */
  slowerThanNs: number | null;
  errorsOnly: boolean;
  /** Share of traces, 0 to 1. */
  sample: number;
  /** Trees a second; 0: no limit. */
  maxRate: number;
  followForks: boolean;
  entryOnly: boolean;
  /** Calls without a context become traces of their own. */
  roots: boolean;
  /** Spans also where the program's own trace is not sampled. */
  unsampled: boolean;
  /** Functions that may be attached in one session. */
  maxFunctions: number;
  /** Size of the ring buffer in bytes; a power of two and a multiple of the page size. */
  ringBytes: number;
  sinks: Sink[];
}
