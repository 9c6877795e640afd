/**
 * The names of a function table, joined by line breaks. A large program's are not taken apart: each
 * would be an object, and what is cut out of a text keeps all of it in memory.
 */
export function forEachName(joined: string, visit: (name: string, index: number) => void): void {
  if (joined === '') return;
  let at = 0;
  for (let index = 0; at <= joined.length; index++) {
    const end = joined.indexOf('\n', at);
    const next = end < 0 ? joined.length : end;
    visit(joined.slice(at, next), index);
    at = next + 1;
  }
}

/** A text of its own, for what is kept. */
export const ownCopy = (name: string): string => Buffer.from(name).toString();

/** Copies of the names at these indexes, by index. */
export function namesAt(joined: string, indexes: readonly number[]): Map<number, string> {
  const wanted = new Set(indexes);
  const found = new Map<number, string>();
  forEachName(joined, (name, index) => {
    if (wanted.has(index)) found.set(index, ownCopy(name));
  });
  return found;
}
