/** Attributes of the program's own spans that are read when they end. */
import { UnderspanError } from '../errors.js';
import { MAX_ATTRIBUTE_NAMES, MAX_ATTRIBUTE_TEXT } from './records.generated.js';

/** An attribute that is read from each span that ends. */
export interface SpanAttribute {
  name: string;
  /** Unique among all that are ever asked for, since rules come and go while spans end. */
  number: number;
}

/** In a span's attributes: one of them could not be read, and may be one that was asked for. */
export const UNREADABLE_ATTRIBUTE = 0;

/** In place of a text that is too long to be read; none that is read is like it. */
export const TOO_LONG = '…'.repeat(MAX_ATTRIBUTE_TEXT);

let numbers = 0;

/** The attribute's number. Adds it to those that are asked for, unless it is there. */
export function askFor(name: string, asked: SpanAttribute[]): number {
  const known = asked.find((each) => each.name === name);
  if (known) return known.number;
  if (Buffer.byteLength(name) >= MAX_ATTRIBUTE_TEXT) {
    throw invalid(
      `'${name}' is a name of more than ${MAX_ATTRIBUTE_TEXT - 1} bytes`,
      'such attributes are not read',
    );
  }
  if (asked.length >= MAX_ATTRIBUTE_NAMES) {
    throw invalid(
      `more than ${MAX_ATTRIBUTE_NAMES} attributes of spans are asked for`,
      `ask for ${MAX_ATTRIBUTE_NAMES} or fewer`,
    );
  }
  const number = ++numbers;
  asked.push({ name, number });
  return number;
}

const invalid = (what: string, hint: string): UnderspanError =>
  new UnderspanError('usage', 'CONDITION_INVALID', what, hint);
