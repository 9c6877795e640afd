import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * Makes a directory, and those above it that are missing; false: it is there. Node's own `recursive`
 * never ends where the file system says of a new name that it does not exist, as /proc does.
 */
export function makeDirectory(path: string, mode = 0o777): boolean {
  try {
    return make(path, mode);
  } catch (error) {
    const parent = dirname(path);
    if (!isCode(error, 'ENOENT') || parent === path) throw error;
    makeDirectory(parent, mode);
    return make(path, mode);
  }
}

function make(path: string, mode: number): boolean {
  try {
    mkdirSync(path, { mode });
    return true;
  } catch (error) {
    if (!isCode(error, 'EEXIST')) throw error;
    return false;
  }
}

const isCode = (error: unknown, code: string): boolean =>
  error instanceof Error && 'code' in error && error.code === code;
