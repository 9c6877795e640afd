/** What is wrong with a configuration file, and where. */
import { UnderspanError } from '../../errors.js';

/** Both count from 1. */
export interface Position {
  line: number;
  column: number;
}

export interface Problem extends Position {
  message: string;
}

/** More would hide each other. */
export const SHOWN = 50;

/** As compilers write it, so that editors find the place. */
export const placeOf = (file: string, { line, column }: Position): string =>
  `${file}:${line}:${column}`;

/** What the file holds may be quoted, and must not look like a line of ours. */
const printable = (message: string): string => message.replace(/\p{Cc}/gu, '\ufffd');

/** All problems in one error, in the order of the file, one a line. */
export function invalid(file: string, problems: readonly Problem[]): UnderspanError {
  const sorted = [...problems].sort((a, b) => a.line - b.line || a.column - b.column);
  const lines = sorted
    .slice(0, SHOWN)
    .map((problem) => `${placeOf(file, problem)}: ${printable(problem.message)}`);
  if (sorted.length > SHOWN) lines.push(`and ${sorted.length - SHOWN} more`);
  return new UnderspanError(
    'usage',
    'CONFIG_INVALID',
    lines.join('\n'),
    'docs/agent-configuration.md describes every key',
  );
}
