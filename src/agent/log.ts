/** The agent's log: one JSON object a line, on standard error. */
import { pino, type DestinationStream } from 'pino';
import type { LogConfig } from './config/config.js';
import { UnderspanError } from '../errors.js';

type Write = (fields: object, message: string) => void;

/** All that the agent's parts know of it. An error goes into the field `err`. */
export interface Log {
  debug: Write;
  info: Write;
  warn: Write;
  error: Write;
}

export interface LogOptions {
  level: LogConfig['level'];
  version: string;
  /** Standard error by default. */
  destination?: DestinationStream;
}

export function createLog({ level, version, destination }: LogOptions): Log {
  return pino(
    {
      level,
      base: { service: 'underspan', version },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: {
        level: (label) => ({ level: label }),
        log: (fields) => withoutSecrets(fields) as Record<string, unknown>,
      },
      serializers: { err: errorFields },
    },
    // A line is written before the call returns, so that nothing is left to be flushed when the
    // process ends, however it ends.
    destination ?? pino.destination({ fd: 2, sync: true }),
  );
}

const HIDDEN = '[hidden]';
const DEPTH = 6;

const SECRET = /token|secret|password|passphrase|credential|authorization|cookie|private.?key/i;

/** Whatever they are called, headers are how collectors are logged in to. */
const HEADERS = /^(headers|metadata)$|_headers$/i;

function withoutSecrets(value: unknown, depth = 0): unknown {
  if (typeof value !== 'object' || value === null || value instanceof Error) return value;
  if (depth === DEPTH) return '[too deep]';
  if (Array.isArray(value)) return value.map((item) => withoutSecrets(item, depth + 1));
  if (!isPlain(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => {
      if (HEADERS.test(name)) return [name, hideValues(inner)];
      if (SECRET.test(name) && inner != null && typeof inner !== 'boolean') return [name, HIDDEN];
      return [name, withoutSecrets(inner, depth + 1)];
    }),
  );
}

/** The names of headers may be seen. */
function hideValues(headers: unknown): unknown {
  if (typeof headers !== 'object' || headers === null || !isPlain(headers)) return HIDDEN;
  return Object.fromEntries(Object.keys(headers).map((name) => [name, HIDDEN]));
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** The stack of an error that was foreseen says nothing to who reads the log. */
function errorFields(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { name, message, cause } = error;
  const causes = cause === undefined ? {} : { cause: errorFields(cause) };
  if (error instanceof UnderspanError) {
    return { type: name, code: error.code, message, hint: error.hint, ...causes };
  }
  const code = (error as NodeJS.ErrnoException).code;
  return {
    type: name,
    ...(code === undefined ? {} : { code }),
    message,
    stack: error.stack,
    ...causes,
  };
}
