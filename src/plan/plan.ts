import type { GoType, Module } from '../native/native.js';
import type { Notice } from '../sinks/sink.js';
import type { Shape } from '../spans/shapes.js';
import type { Site } from './sites.js';

/** Where a function's own context.Context, or *http.Request, is at its entry. */
export interface ContextAt {
  /** ContextPlace of records.h. */
  place: number;
  /** Argument word, or offset on the stack. */
  at: number;
}

/** How one value is read; struct value_plan of records.h says what the fields mean. */
export interface ValuePlan {
  kind: number;
  place: number;
  at: number;
  hasMethods: boolean;
  size: number;
  limit: number;
  /** From the pointer of a text or slice to its length. */
  lengthAt: number;
  path: number[];
}

/** A value that is read from every call, and how it is shown. */
export interface PlannedValue {
  /** Attribute of the span, such as "underspan.arg.order.ID". */
  attribute: string;
  /** By which its bytes are shown: a Go type, or what one of another language comes down to. */
  type: GoType | Shape;
  /** Not shown as it is: its name looks like a secret's. */
  redacted: boolean;
  plan: ValuePlan;
}

/** What is read from a function's calls besides their times. */
export interface FunctionValues {
  /** At the entry. */
  arguments: PlannedValue[];
  /** At each return. */
  results: PlannedValue[];
  /** What of the result says that the call has failed; null where nothing does. */
  error: ErrorPlan | null;
  stackTrace: boolean;
}

/** How a call's failure shows; struct function_values of records.h says what the numbers mean. */
export interface ErrorPlan {
  /** ErrorKind. */
  kind: number;
  place: number;
  at: number;
  inMemory: boolean;
  offset: number;
  size: number;
  value: bigint;
  /** What is read of a failed call: the number, or the error's text. */
  read: PlannedValue | null;
  /** The error's type; null: it has none, or Go's interface tells. */
  type: string | null;
}

export interface PlannedFunction {
  name: string;
  address: number;
  size: number;
  entry: Site;
  returns: Site[];
  /** Of the kernel: how many arguments it has, if some are read. */
  parameters?: number;
  /** It is a single instruction, by which it begins and ends. */
  single: boolean;
  /** Why its returns are not seen, so that its calls are only counted; null: they are. */
  entryOnly: string | null;
  /** Its entry's program sees its returns too; where a process does not let it, they are not. */
  trampoline: boolean;
  context: ContextAt;
  file: string | null;
  line: number | null;
  values: FunctionValues;
  /** Its calls are HTTP requests of this route; null: it is no handler. */
  route: string | null;
}

/** A site in a runtime or the SDK, without which calls would be placed or paired wrongly. */
export interface SupportSite extends Site {
  /** SiteKind of records.h. */
  kind: number;
  /** SiteKind.SPAN_END: index of the span's type; SWITCH_STACK: which argument. */
  at: number;
  /** The function it lies in. */
  name: string;
}

export interface Refusal {
  name: string;
  reason: string;
}

/** A Go type that may be the current span in a context; offsets in bytes, 0 where it has none. */
export interface SpanType {
  name: string;
  type: number;
  contextOffset: number;
  nameOffset: number;
  parentOffset: number;
  tracerOffset: number;
  /** Of whether its parent is a span of another process. */
  remoteOffset: number;
  statusOffset: number;
  attributesOffset: number;
}

/** The way from a tracer of the SDK to its resource; offsets in bytes. */
export interface ResourceLayout {
  /** Of the provider in the tracer, and of the resource in the provider. */
  provider: number;
  resource: number;
  /** Of the interface that holds the attributes, in the resource. */
  attributes: number;
  /** Of attribute.KeyValue. */
  pairSize: number;
  key: number;
  kind: number;
  number: number;
  text: number;
  slice: number;
}

/** A wrapper of contexts, by its itab, or by its type where the itab was made at run time. */
export interface ContextType {
  itab: number;
  type: number;
  /** ContextWraps of records.h. */
  wraps: number;
  /** Of the context that it wraps; 0 where it wraps none. */
  parentOffset: number;
}

/** How to find the text of an error by its dynamic type; struct error_text of records.h. */
export interface ErrorText {
  type: number;
  kind: number;
  offset: number;
}

/** What must be known of a Go program's memory. Addresses are the module's; 0 is not known. */
export interface GoLayout {
  version: string;
  goidOffset: number;
  labelsOffset: number;
  /** Up to Go 1.23. */
  labelsAreMap: boolean;
  /** Of curg in runtime.m. */
  currentOffset: number;
  /** Of a thread's g, from its thread pointer. */
  threadOffset: number;
  requestContextOffset: number;
  /** WaitKind by the runtime's number of the reason. */
  waitKinds: readonly number[];
  valueItab: number;
  keyType: number;
  contextInterface: number;
  spanTypes: SpanType[];
  contextTypes: ContextType[];
  errorTexts: ErrorText[];
  /** null: the program has no SDK, or nothing is known of its types. */
  resource: ResourceLayout | null;
}

/** Which sites the patterns lead to in one module. */
export interface ModulePlan {
  /** Which programs of ours serve it. */
  kind: 'go' | 'native' | 'kernel';
  module: Module;
  /** null: it is no Go program. */
  layout: GoLayout | null;
  functions: PlannedFunction[];
  refused: Refusal[];
  support: SupportSite[];
  notices: Notice[];
  /** Paths of --arg that its functions have, or may have where nothing is known of their arguments. */
  claimed: ReadonlySet<string>;
}

const PAGE_SIZE = 4_096;

/** Text that becomes private memory of a target when its sites are attached: whole pages of it. */
export function privateBytes(plan: ModulePlan): number {
  if (plan.kind === 'kernel') return 0;
  const pages = new Set<number>();
  const add = ({ address }: Site): void => void pages.add(Math.floor(address / PAGE_SIZE));
  for (const { entry, returns } of plan.functions) [entry, ...returns].forEach(add);
  plan.support.forEach(add);
  return pages.size * PAGE_SIZE;
}

export const siteCount = ({ functions, support }: ModulePlan): number =>
  functions.reduce((sum, { returns }) => sum + 1 + returns.length, support.length);
