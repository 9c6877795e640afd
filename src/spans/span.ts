export type ResourceValue = string | number | boolean | string[] | number[] | boolean[];

/** Whose spans these are: one object per process, so that exporters can group by identity. */
export interface ProcessResource {
  attributes: Record<string, ResourceValue>;
}

export type AttributeValue = string | number | boolean;

/** Something that happened during a call. */
export interface SpanEvent {
  name: string;
  timeUnixNano: bigint;
  attributes: Record<string, AttributeValue>;
}

/** A span of another trace that has to do with this one. */
export interface SpanLink {
  traceId: string;
  spanId: string;
  attributes: Record<string, AttributeValue>;
}

/** One call. */
export interface FunctionSpan {
  /** 32 hex digits. */
  traceId: string;
  /** 16 hex digits. */
  spanId: string;
  /** null: a root. */
  parentSpanId: string | null;
  traceFlags: number;
  name: string;
  startTimeUnixNano: bigint;
  endTimeUnixNano: bigint;
  durationNano: number;
  status: { code: 'unset' | 'ok' | 'error'; message?: string };
  attributes: Record<string, AttributeValue>;
  /** None where it is left out. */
  events?: readonly SpanEvent[];
  links?: readonly SpanLink[];
  resource: ProcessResource;
  /** Number of its function, as statistics have it. */
  functionIndex: number;
}

/** A span that the program's own SDK made, as far as it could be read. */
export interface ProgramSpan {
  traceId: string;
  spanId: string;
  parentSpanId: string | null;
  name: string;
  startTimeUnixNano: bigint;
  endTimeUnixNano: bigint;
  resource: ProcessResource;
}
