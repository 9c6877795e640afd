import { UnderspanError } from '../errors.js';
import { mayReadOthers, READ_OTHERS } from '../native/host.js';
import type { NativeError } from '../native/native.js';

export function isNativeError(error: unknown): error is NativeError {
  return error instanceof Error && typeof (error as { code?: unknown }).code === 'string';
}

/** A file that could not be read as a program, said for its user. */
export function moduleError(error: unknown, file: string): unknown {
  if (!isNativeError(error)) return error;
  const options = { cause: error };
  switch (error.code) {
    case 'ELF_UNREADABLE':
      return new UnderspanError(
        error.errno === 13 || error.errno === 1 ? 'not-permitted' : 'not-found',
        error.code,
        `${file} cannot be read: ${error.message}`,
        mayReadOthers()
          ? 'run as root, or see trace doctor for the capabilities that are needed'
          : `run as root, or with ${READ_OTHERS}: it is closed to other users`,
        options,
      );
    case 'ELF_NOT_ELF':
      return new UnderspanError(
        'unsupported',
        error.code,
        `${file} is not an ELF program; it may be a script`,
        'trace the interpreter, or the program that the script starts',
        options,
      );
    case 'ELF_MALFORMED':
      return new UnderspanError(
        'unsupported',
        error.code,
        `${file} is truncated or malformed: ${error.message}`,
        'compare it with the file that was built',
        options,
      );
    case 'ELF_UNSUPPORTED':
      return new UnderspanError(
        'unsupported',
        error.code,
        `${file} cannot be traced: ${error.message}`,
        '64-bit x86 programs can be traced',
        options,
      );
    default:
      return error;
  }
}
