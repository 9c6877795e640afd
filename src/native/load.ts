import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

import { UnderspanError } from '../errors.js';
import type { Native } from './native.js';

// This file runs from dist/src/native/.
const addon = fileURLToPath(new URL('../../../build/Release/underspan.node', import.meta.url));

/** The addon; an UnderspanError if it is not built or does not fit this machine. */
export function loadNative(): Native {
  try {
    return createRequire(import.meta.url)(addon) as Native;
  } catch (error) {
    const reason = error instanceof Error ? error.message.split('\n')[0] : String(error);
    throw new UnderspanError(
      'unsupported',
      'ADDON_MISSING',
      `the native addon cannot be loaded: ${reason}`,
      'build it with: npm run setup',
      { cause: error },
    );
  }
}
