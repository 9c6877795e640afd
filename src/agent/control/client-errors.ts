import { type ErrorKind, UnderspanError } from '../../errors.js';
import type { ErrorBody } from './protocol.js';

const KINDS: readonly ErrorKind[] = [
  'failed',
  'usage',
  'not-permitted',
  'unsupported',
  'not-found',
];

/** An error of the agent as it was there. */
export function toError({ kind, code, message, hint }: ErrorBody): UnderspanError {
  return new UnderspanError(
    KINDS.includes(kind) ? kind : 'failed',
    String(code),
    String(message),
    hint === undefined ? undefined : String(hint),
  );
}

export const strangeAnswer = (what: string, cause?: unknown): UnderspanError =>
  new UnderspanError(
    'failed',
    'AGENT_ANSWER_STRANGE',
    `the agent's answer cannot be understood: ${what}`,
    'see that it is an agent of Underspan that listens there, and of this version',
    { cause },
  );
