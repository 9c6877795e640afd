import { CommanderError } from 'commander';
import { UnderspanError, type ErrorKind } from '../src/errors.js';

const STATUS: Record<ErrorKind, number> = {
  failed: 1,
  usage: 2,
  'not-permitted': 3,
  unsupported: 3,
  'not-found': 4,
};

/** With `-- COMMAND` the exit status is the command's, and this one our own failure. */
export const OWN_FAILURE = 125;

export function exitStatus(error: unknown, hasCommand: boolean): number {
  if (error instanceof CommanderError && error.exitCode === 0) return 0;
  if (hasCommand) return OWN_FAILURE;
  if (error instanceof CommanderError) return STATUS.usage;
  return error instanceof UnderspanError ? STATUS[error.kind] : STATUS.failed;
}

/** What is wrong and why, then what to do; stacks and the kernel's words only if asked for. */
export function renderError(error: unknown, verbose: boolean): string {
  const lines = [`trace: ${messageOf(error)}`];
  if (error instanceof UnderspanError && error.hint) lines.push(`  ${error.hint}`);
  if (verbose) {
    for (let cause = error; cause instanceof Error; cause = cause.cause) {
      lines.push(cause.stack ?? cause.message);
      if ('log' in cause && typeof cause.log === 'string') lines.push(cause.log);
    }
  } else if (!(error instanceof UnderspanError) && !(error instanceof CommanderError)) {
    lines.push('  this should not happen; --verbose shows where it did');
  }
  return `${lines.join('\n')}\n`;
}

function messageOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  // One problem a line, each with its place.
  if (error instanceof UnderspanError && error.code === 'CONFIG_INVALID') return message;
  return message
    .replace(/^error: /, '')
    .replace(/\n[\s\S]*/, (rest) => rest.replace(/\s*\n\s*/g, ' '));
}
