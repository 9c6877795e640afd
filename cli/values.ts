import { InvalidArgumentError } from 'commander';
import { ERROR_MODES } from '../src/plan/error-modes.js';
import * as quantities from '../src/quantities.js';

/** Commander puts the option and the argument before it. */
function argument<T>(parse: (text: string) => T): (text: string) => T {
  return (text) => {
    try {
      return parse(text);
    } catch (error) {
      if (!(error instanceof quantities.InvalidQuantity)) throw error;
      throw new InvalidArgumentError(`It ${error.message}.`);
    }
  };
}

export const parseDuration = argument(quantities.parseDuration);
export const parseTimeout = argument(quantities.parseTimeout);
export const parseShare = argument(quantities.parseShare);
export const parseBudget = argument(quantities.parseBudget);
export const parseCount = argument(quantities.parseCount);
export const parsePositive = argument(quantities.parsePositive);
export const parseHops = argument(quantities.parseHops);
export const parseRate = argument(quantities.parseRate);
export const parseRingSize = argument(quantities.parseRingSize);

export const parsePid = argument((text) => {
  const pid = /^\d+$/.test(text) ? Number(text) : 0;
  if (pid === 0 || pid > 0x7fffffff) {
    throw new quantities.InvalidQuantity(
      'is not the id of a process',
      "a number, as 'pidof NAME' prints it",
    );
  }
  return pid;
});

export const parseErrorMode = argument((text) => {
  const mode = ERROR_MODES.find((each) => each === text);
  if (mode === undefined) {
    throw new quantities.InvalidQuantity('is no kind of error', `one of ${ERROR_MODES.join(', ')}`);
  }
  return mode;
});

/** For an option of which a second one would hide the first. */
export function once(text: string, previous?: string): string {
  if (previous !== undefined) throw new InvalidArgumentError('It can be given once.');
  return text;
}

/** For an option that is repeated. */
export function collect<T>(parse: (text: string) => T): (text: string, previous?: T[]) => T[] {
  return (text, previous = []) => [...previous, parse(text)];
}
