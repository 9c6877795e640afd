/** A request for a session, as a peer wrote it: checked, and what is missing filled in. */
import { z } from 'zod';
import { UnderspanError } from '../../errors.js';
import { ERROR_MODES } from '../../plan/error-modes.js';
import { TRANSPORTS } from '../../session/transport.js';
import { FOLD } from '../../spans/folds.js';
import { MAX_CONTEXT_HOPS } from '../../spans/records.generated.js';
import type { SessionRequest } from './protocol.js';

const MAX_FUNCTIONS = 10_000;
const MAX_RING_BYTES = 64 << 20;
/** A day, in nanoseconds: longer calls are no calls that a filter asks for. */
const MAX_DURATION_NS = 86_400e9;

const name = z.string().min(1).max(1_000);
const names = z.array(name).max(100).default([]);
const paths = z
  .array(name.startsWith('/', { error: 'must be an absolute path' }))
  .max(100)
  .default([]);
const flag = (value: boolean): z.ZodDefault<z.ZodBoolean> => z.boolean().default(value);
const nanoseconds = z.number().int().min(0).max(MAX_DURATION_NS);

const isPowerOfTwo = (bytes: number): boolean => Number.isInteger(Math.log2(bytes));

const SCHEMA = z.strictObject({
  selection: z.strictObject({
    pids: z.array(z.number().int().min(1).max(0x7fffffff)).max(1_000).default([]),
    exes: paths,
    comms: names,
    containers: names,
    services: names,
    command: z.null({ error: 'must be left out: the agent starts no programs' }).default(null),
    waitMs: z
      .number({ error: 'must be a number of milliseconds: the agent does not wait for ever' })
      .min(0)
      .max(0x7fffffff)
      .default(0),
  }),
  symbols: z.array(name).min(1).max(100),
  /** Requests are counted by the agent's own rules only. */
  handlers: z.array(z.never()).default([]),
  exclude: names,
  minDurationNs: nanoseconds.default(0),
  slowerThanNs: nanoseconds.nullable().default(null),
  errorsOnly: flag(false),
  span: name.nullable().default(null),
  where: names,
  by: name.nullable().default(null),
  fold: z.number().int().min(0).max(1e9).default(FOLD),
  sample: z.number().min(0).max(1).default(1),
  maxRate: z.number().min(0).max(1e9).default(0),
  followForks: flag(true),
  entryOnly: flag(false),
  contextHops: z.number().int().min(1).max(MAX_CONTEXT_HOPS).default(32),
  args: names,
  returns: flag(false),
  stack: flag(false),
  waits: flag(false),
  gc: flag(false),
  allocations: flag(false),
  errorText: flag(true),
  errors: z.array(z.enum(ERROR_MODES)).max(3).nullable().default(null),
  redact: z.array(name).max(100).nullable().default([]),
  emulateReturns: flag(true),
  returnTrampoline: flag(false),
  roots: flag(true),
  unsampled: flag(false),
  maxOverhead: z.number().gt(0).max(1).default(0.05),
  maxFunctions: z.number().int().min(1).max(MAX_FUNCTIONS).nullable().default(null),
  transport: z.enum(TRANSPORTS).default('ring'),
  ringBytes: z
    .number()
    .int()
    .min(4_096)
    .max(MAX_RING_BYTES)
    .refine(isPowerOfTwo, { error: 'must be a power of two' })
    .default(8 << 20),
  durationMs: z.number().min(1).max(0x7fffffff).nullable().default(null),
  programSpans: flag(false),
});

/** Throws a usage error that names the field. */
export function parseRequest(text: string): SessionRequest {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    throw invalid('the body of the request is not JSON');
  }
  const result = SCHEMA.safeParse(body);
  if (!result.success) throw invalid(result.error.issues.map(describe)[0] ?? 'it is no request');
  const { selection } = result.data;
  const { pids, exes, comms, containers, services } = selection;
  if ([pids, exes, comms, containers, services].every(({ length }) => length === 0)) {
    throw invalid('selection: chooses no process');
  }
  return result.data;
}

function invalid(message: string): UnderspanError {
  return new UnderspanError(
    'usage',
    'REQUEST_INVALID',
    message,
    'docs/sessions.md says what a request may hold',
  );
}

/** `selection.pids[0]: …`, as far as the place goes. */
function describe({ path, message }: z.core.$ZodIssue): string {
  const place = path
    .map((key) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`))
    .join('')
    .replace(/^\./, '');
  return place === '' ? message : `${place}: ${message}`;
}
