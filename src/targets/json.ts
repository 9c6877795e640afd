/** JSON that somebody else wrote: nothing in it is taken for what it should be. */

/** A name, an image or a label's value: none of them is longer. */
const LONGEST_TEXT = 1_024;

export type JsonObject = Record<string, unknown>;

export function asObject(value: unknown): JsonObject | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as JsonObject)
    : null;
}

export const asArray = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);

/** Null for what is no text, empty, or too long to be what was asked for. */
export function asText(value: unknown): string | null {
  return typeof value === 'string' && value !== '' && value.length <= LONGEST_TEXT ? value : null;
}

export function parseObject(text: string | null): JsonObject | null {
  if (text === null) return null;
  try {
    return asObject(JSON.parse(text));
  } catch {
    return null;
  }
}
