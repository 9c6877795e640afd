import { closeSync, openSync, statSync } from 'node:fs';
import { UnderspanError } from '../errors.js';
import { mayReadOthers, READ_OTHERS } from '../native/host.js';
import { isDenied } from './procfs.js';

export const EXECUTABLE_GONE = 'EXECUTABLE_GONE';

/** A file that stays the same, whatever becomes of its path and of the processes that run it. */
export class OpenFile {
  private readonly descriptor: number;

  /** Throws an UnderspanError. `shownAs`: the path as its processes see it. */
  constructor(path: string, shownAs: string) {
    try {
      this.descriptor = openSync(path, 'r');
    } catch (error) {
      throw explain(error, shownAs);
    }
  }

  get path(): string {
    return `/proc/self/fd/${this.descriptor}`;
  }

  close(): void {
    closeSync(this.descriptor);
  }
}

/** Tells a file from another that has taken its inode, or its place. */
export function stampOf(file: string): string {
  try {
    const { ctimeNs, size } = statSync(file, { bigint: true });
    return `${ctimeNs} ${size}`;
  } catch {
    return '';
  }
}

function explain(error: unknown, shownAs: string): UnderspanError {
  const message = `${shownAs} cannot be opened: ${(error as Error).message}`;
  const options = { cause: error };
  if (!isDenied(error))
    return new UnderspanError('not-found', EXECUTABLE_GONE, message, undefined, options);
  return new UnderspanError(
    'not-permitted',
    'EXECUTABLE_NOT_PERMITTED',
    message,
    mayReadOthers()
      ? undefined
      : `run as root, or with ${READ_OTHERS}: it is closed to other users`,
    options,
  );
}
