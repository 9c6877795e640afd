/** What crosses from the kernel, once decoded. Times are nanoseconds of CLOCK_MONOTONIC. */

import { CallEnd } from './records.generated.js';
import type { AttributeValue } from './span.js';

/** A value that was read from a call; struct value_header of records.h. */
export interface CallValue {
  /** Of its plan among the function's arguments, then results; or SpecialValue. */
  index: number;
  /** ValueState. */
  state: number;
  /** As the program has it, of a string, slice or map. */
  length: number;
  /** Dynamic type of an interface, by its address in the module; 0: none. */
  type: number;
  data: Buffer;
}

/** Who ended a wait. */
export interface Waker {
  /** 0: a thread that runs none. */
  goroutineId: number;
  /** Of the thread that ended a thread's wait; else 0. */
  tid: number;
  /** null: it had no traced call open. */
  traceId: string | null;
  spanId: string;
  /** The innermost traced one; 0: none. */
  function: number;
}

/** One that was long. */
export interface Wait {
  startNs: bigint;
  /** What it waited for had come; null: with the end, or it is not known. */
  readyNs: bigint | null;
  endNs: bigint;
  /** WaitKind. */
  kind: number;
  /** null: not known. */
  waker: Waker | null;
}

export interface CallWaits {
  /** By WaitKind, with what ran beneath on the same stack. */
  ns: Float64Array;
  /** Bytes, with what ran beneath, and the samples or spans of memory that they were seen by. */
  allocated: number;
  allocations: number;
  /** The sums are there; else only some long waits are known. */
  complete: boolean;
  /** The long ones of the call itself, the earliest first. */
  told: Wait[];
}

/** What the garbage collector of a process does, in nanoseconds of CLOCK_MONOTONIC. */
export interface CollectorRecord {
  tgid: number;
  /** GcEvent. */
  event: number;
  /** GcPhase. */
  phase: number;
  /** Of the pause. */
  startNs: number;
  /** 0: it begins. */
  endNs: number;
  /** When the cycle began that ends now; null: not known, or it does not end. */
  cycleNs: number | null;
  /** Bytes; null: not known. */
  heapLive: number | null;
  heapGoal: number | null;
}

/** What a span tells of the calls that it stands for. */
export interface Fold {
  count: number;
  totalNs: number;
  slowestNs: number;
  fastestNs: number;
  /** Of those, how many failed, or one beneath them did. */
  failures: number;
}

/** One closed call. Ids are hexadecimal digits in wire order. */
export interface Call {
  traceId: string;
  spanId: string;
  /** All zeros where parentKind is NONE. */
  parentId: string;
  /** ParentKind. */
  parentKind: number;
  /** Span id of the tree's outermost call. */
  treeId: string;
  traceFlags: number;
  /** ContextSource. */
  source: number;
  /** CallEnd. */
  end: number;
  depth: number;
  startNs: bigint;
  durationNs: number;
  /** Traced calls beneath, at any depth. */
  descendants: number;
  /** Index of the function; 0 belongs to sites that are no function of the user's. */
  function: number;
  tgid: number;
  tid: number;
  /** With tgid the key of the kernel's table of open calls. */
  stack: bigint;
  goroutineId: number;
  /** Outermost call only: records sent for the tree, with this one, and those that were lost. */
  treeSpans: number;
  treeLost: number;
  /** It returned an error that is not nil. */
  failed: boolean;
  /** What was read from it; null: nothing. */
  values: CallValue[] | null;
  /** null: nothing is known that it waited for, or allocated. */
  waits: CallWaits | null;
  /** All that it waited for is known. */
  waitsKnown: boolean;
  /** It stands for siblings of its function too. */
  fold: Fold | null;
  /** The tree beneath is not whole, or this call's end was not seen. */
  incomplete: boolean;
  /** Made from the kernel's table of open calls: its own record never came. */
  unclosed: boolean;
}

/** By what unwound it, or an error that it returned. */
export const hasFailed = ({ failed, end }: Call): boolean =>
  failed || end === CallEnd.PANICKED || end === CallEnd.UNWOUND;

/** A call that had begun and not ended when the kernel's table was read. */
export interface OpenCall {
  traceId: string;
  spanId: string;
  parentId: string;
  parentKind: number;
  traceFlags: number;
  source: number;
  startNs: bigint;
  descendants: number;
  function: number;
  /** Span id of the tree's outermost call. */
  treeId: string;
}

/** What is open on one goroutine or thread, outermost first. */
export interface OpenStack {
  stack: bigint;
  goroutineId: number;
  calls: readonly OpenCall[];
  /** Open calls of trees that make no spans. */
  silent: number;
}

export interface ProgramSpanRecord {
  traceId: string;
  spanId: string;
  /** null: a root. */
  parentId: string | null;
  /** Its parent is a span of another process. */
  parentRemote: boolean;
  name: string;
  status: 'unset' | 'error' | 'ok';
  /** What was asked for and is there, by SpanAttribute.number; null: nothing. */
  attributes: ReadonlyMap<number, AttributeValue> | null;
  startNs: bigint;
  endNs: bigint;
  tgid: number;
  goroutineId: number;
}

/** Where a process's tracer is, told once. */
export interface TracerRecord {
  tgid: number;
  /** In its memory. */
  tracer: bigint;
}

export interface ProcessRecord {
  timeNs: bigint;
  /** ProcessEvent. */
  event: number;
  tgid: number;
  /** Of a fork; else 0. */
  parentTgid: number;
  /** Of an exec: the executable, as the kernel knows it. */
  device: bigint;
  inode: bigint;
  /** The executable's ctime. */
  changedNs: bigint;
  /** Of an exec: it is stopped before its first instruction. */
  held: boolean;
  /** Of an exit: as wait(2) tells it, the signal in the low bits or the status above. */
  exitCode: number;
}
