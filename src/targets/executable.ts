import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  openSync,
  readSync,
  statSync,
} from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { UnderspanError } from '../errors.js';

/** Finds a command's executable as a shell would: by PATH, unless it holds a slash. */
export function resolveExecutable(
  command: string,
  searchPath = process.env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin',
): string {
  const candidates = command.includes('/')
    ? [resolve(command)]
    : // An empty element of PATH is the current directory.
      searchPath.split(delimiter).map((directory) => resolve(join(directory || '.', command)));
  const files = command === '' ? [] : candidates.filter(isFile);
  const executable = files.find(isExecutable);
  if (executable !== undefined) return executable;
  const [file] = files;
  if (file !== undefined) {
    throw new UnderspanError(
      'not-permitted',
      'COMMAND_NOT_EXECUTABLE',
      `${file} is not executable`,
      `chmod +x ${file}`,
    );
  }
  throw new UnderspanError(
    'not-found',
    'COMMAND_NOT_FOUND',
    `there is no command '${command}'${command.includes('/') ? '' : ' in PATH'}`,
    existsSync(command) && isFile(command) ? `for the file here write ./${command}` : undefined,
  );
}

/** The interpreter that a script names in its first line; null if it is no script. */
export function interpreterOf(path: string): string | null {
  let descriptor: number;
  try {
    descriptor = openSync(path, 'r');
  } catch {
    return null;
  }
  try {
    // The kernel looks at no more than this (BINPRM_BUF_SIZE).
    const head = Buffer.alloc(256);
    const text = head.toString('latin1', 0, readSync(descriptor, head, 0, head.length, 0));
    return /^#![ \t]*([^\s\0]+)/.exec(text)?.[1] ?? null;
  } catch {
    return null;
  } finally {
    closeSync(descriptor);
  }
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
