import type { AttributeValue, FunctionSpan, ProgramSpan } from '../spans/span.js';

/** Something a reader of the output must know. */
export interface Notice {
  code: string;
  message: string;
  /** What to do about it. */
  hint?: string;
  /** The pattern that it is about, as it was written. */
  pattern?: string;
}

export interface FunctionSummary {
  name: string;
  sites: number;
  calls: number;
  spans: number;
  errors: number;
  /** Hits in the kernel that were no call of the program's: in interrupts, or for a probe. */
  foreign: number;
  minNano: number;
  p50Nano: number;
  p99Nano: number;
  maxNano: number;
  totalNano: number;
  selfNano: number;
  /** By what its calls waited for, with what ran beneath; empty where nobody looked. */
  waitedNano: Record<string, number>;
  /** Calls whose waits, and allocations, are known: the others add nothing to what is said of them. */
  watchedCalls: number;
}

/** A place in the code. */
export interface Frame {
  function: string;
  /** null where it is not known. */
  file: string | null;
  line: number | null;
}

/** Where calls of a function have allocated, without traced calls beneath. */
export interface AllocationStack {
  /** The innermost traced one. */
  function: string;
  bytes: number;
  /** By which these were seen. */
  samples: number;
  /** Innermost first, down to the function; without those of the runtime that allocate. */
  frames: Frame[];
  /** The function was too far away, or not found. */
  cut: boolean;
}

export interface Allocations {
  /** Of all stacks. */
  bytes: number;
  samples: number;
  /** Those that allocated most, first the one with most bytes. */
  stacks: AllocationStack[];
  /** Stacks that are not among those. */
  others: number;
  /** What came from stacks that found no room. */
  uncounted: { bytes: number; samples: number };
}

/** Requests, and the spans beneath them, of one value. */
export interface ValueSummary {
  /** other: what there was no room for. none: no span around has it. unknown: that is not known. */
  kind: 'value' | 'other' | 'none' | 'unknown';
  /** null: of all kinds but the first. */
  value: AttributeValue | null;
  requests: number;
  /** Of the requests: as long as their own spans were. */
  totalNano: number;
  maxNano: number;
  /** Of spans that were kept; a folded one is as many calls as it stands for. */
  functions: { name: string; calls: number; totalNano: number; maxNano: number }[];
}

export interface ValuesSummary {
  /** What they are told apart by, as it was asked for. */
  key: string;
  /** By the time of their requests, then what has no value. */
  values: ValueSummary[];
}

export interface Summary {
  functions: FunctionSummary[];
  /** Spans by a value; only there if that was asked for. */
  by?: ValuesSummary;
  /** Calls that made no span, by reason; a reason that did not occur is 0. */
  lost: Record<string, number>;
  /** Calls whose context could not be read, and of those, whose context had too many wrappers. */
  contexts: { unreadable: number; truncated: number };
  /** Calls whose arguments or results found no room while they were open. */
  valuesLost: number;
  /** Calls of which it is not known what they waited for, since it found no room. */
  waitsLost: number;
  /** Where calls have allocated; null where nobody looked. */
  allocations: Allocations | null;
  /** How often all probes of an executable were taken back for a while, to keep to the budget. */
  suspensions: number;
  /** Shares of one CPU; null where it could not be predicted or measured. */
  overhead: { predicted: number | null; measured: number | null };
}

/** How a sink that delivers is doing. Counts are since it was made. */
export interface SinkState {
  name: string;
  queuedSpans: number;
  queuedBytes: number;
  spooledSpans: number;
  spooledBytes: number;
  delivered: number;
  /** Spans that may have been delivered twice, since an answer was missed. */
  repeated: number;
  /** Requests that were tried again. */
  retries: number;
  lost: Record<string, number>;
}

/** Where spans go. None of these may throw or block: what cannot be delivered is counted. */
export interface Sink {
  /**
   * A tree, or as much of one as goes out at once: to be taken or refused as a whole, so that no
   * span is delivered without its parent.
   */
  spans(tree: readonly FunctionSpan[]): void;
  /** Ended spans of the program's own SDK, for sinks that show them. */
  programSpans?(batch: readonly ProgramSpan[]): void;
  notice?(notice: Notice): void;
  /**
   * Delivers what is left within `deadlineMs`, and counts what it could not. No spans come after
   * it: only then is lost() final, for the summary.
   */
  flush?(deadlineMs: number): Promise<void>;
  /** Spans that this sink gave up on, by reason (queue, export, output). */
  lost?(): Record<string, number>;
  state?(): SinkState;
  /** The last call. */
  close(summary: Summary): Promise<void>;
}
