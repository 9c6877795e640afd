/** What spans are told apart by: something that the program's own spans say. */
import { UnderspanError } from '../errors.js';
import type { ProgramSpanRecord } from './call.js';
import type { AttributeValue } from './span.js';
import { askFor, type SpanAttribute, TOO_LONG, UNREADABLE_ATTRIBUTE } from './span-attribute.js';

export interface SpanKey {
  /** As it was asked for. */
  readonly text: string;
  /** Null: it is none. */
  readonly attribute: string | null;
  /** Undefined: the span does not have it. Null: it could not be read. */
  valueOf(span: ProgramSpanRecord): AttributeValue | null | undefined;
}

const KEY = /^\s*span\.(?:(name|status)|attr\.([^\s=!<>]+))\s*$/;

/** What is asked for is added to `attributes`. */
export function parseSpanKey(written: string, attributes: SpanAttribute[]): SpanKey {
  const [, field, attribute] = KEY.exec(written) ?? [];
  const text = written.trim();
  if (field === 'status') return { text, attribute: null, valueOf: ({ status }) => status };
  // Without a name is only what could not be read.
  const nameOf = ({ name }: ProgramSpanRecord): string | null => (name === '' ? null : name);
  if (field === 'name') return { text, attribute: null, valueOf: nameOf };
  if (attribute === undefined) {
    throw new UnderspanError(
      'usage',
      'KEY_INVALID',
      `'${written}' is nothing that spans say of themselves`,
      "write 'span.attr.tenant.id', 'span.name' or 'span.status'",
    );
  }
  const number = askFor(attribute, attributes);
  return {
    ...{ text, attribute },
    valueOf: ({ attributes: present }) => {
      const found = present?.get(number);
      if (found !== undefined) return found === TOO_LONG ? null : found;
      return present?.has(UNREADABLE_ATTRIBUTE) ? null : undefined;
    },
  };
}
