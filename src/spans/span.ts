export type ResourceValue = string | number | boolean | string[] | number[] | boolean[];

/** Whose spans these are: one object per process, so that exporters can group by identity. */
export interface ProcessResource {
  attributes: Record<string, ResourceValue>;
}

export type AttributeValue = string | number | boolean;

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
