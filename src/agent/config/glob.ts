/** Globs of rules: `*` is any characters, also slashes, `?` is one, `[abc]`, `[a-z]`, `[!a]`. */

export class InvalidGlob extends Error {}

/** Fits one character, given as its code point; null is `*`. */
type Token = ((code: number) => boolean) | null;

/** Compiled once. Throws InvalidGlob where nothing could ever match, or a bracket is open. */
export function compileGlob(text: string): (value: string) => boolean {
  const tokens = tokensOf(text);
  return (value) => fits(tokens, value);
}

/** How the file names of all paths begin that end as the glob does; "" where that is open. */
export function nameBeginsWith(glob: string): string {
  const name = glob.slice(glob.lastIndexOf('/') + 1);
  return name.slice(0, name.search(/[*?[]|$/));
}

function tokensOf(text: string): Token[] {
  if (text === '') throw new InvalidGlob("is empty and would match nothing; '*' matches all");
  const tokens: Token[] = [];
  const characters = Array.from(text);
  for (let i = 0; i < characters.length; i++) {
    const character = characters[i] as string;
    if (character === '*') {
      if (tokens.at(-1) !== null) tokens.push(null);
    } else if (character === '?') {
      tokens.push(() => true);
    } else if (character === '[') {
      const end = closing(characters, i);
      tokens.push(setOf(characters.slice(i + 1, end)));
      i = end;
    } else {
      const code = character.codePointAt(0);
      tokens.push((other) => other === code);
    }
  }
  return tokens;
}

/** As in a shell, a bracket that comes first, or after `!`, belongs to the set: `[]]`, `[!]]`. */
function closing(characters: readonly string[], open: number): number {
  const first = characters[open + 1] === '!' ? open + 2 : open + 1;
  const end = characters.indexOf(']', first + 1);
  if (end < 0) {
    throw new InvalidGlob("has a '[' that is not closed; '[[]' matches the bracket itself");
  }
  return end;
}

function setOf(characters: readonly string[]): Token {
  const negated = characters[0] === '!';
  const codes = (negated ? characters.slice(1) : characters).map(
    (each) => each.codePointAt(0) ?? 0,
  );
  const ranges: [number, number][] = [];
  for (let i = 0; i < codes.length; i++) {
    const from = codes[i] as number;
    const to = codes[i + 2];
    if (codes[i + 1] !== 0x2d || to === undefined) {
      ranges.push([from, from]);
      continue;
    }
    if (to < from) {
      const range = `${String.fromCodePoint(from)}-${String.fromCodePoint(to)}`;
      throw new InvalidGlob(`has the range '${range}', which is empty`);
    }
    ranges.push([from, to]);
    i += 2;
  }
  return (code) => ranges.some(([from, to]) => code >= from && code <= to) !== negated;
}

/**
 * After a mismatch only the last `*` takes one character more: an earlier one need never take
 * more than it did, so the work is bounded by the glob's length times the value's.
 */
function fits(tokens: readonly Token[], value: string): boolean {
  let at = 0;
  let token = 0;
  let star = -1;
  let starAt = 0;
  while (at < value.length) {
    const code = value.codePointAt(at) as number;
    const wanted = tokens[token];
    if (wanted === null) {
      star = token++;
      starAt = at;
    } else if (wanted?.(code)) {
      token++;
      at += width(code);
    } else if (star >= 0) {
      token = star + 1;
      starAt += width(value.codePointAt(starAt) as number);
      at = starAt;
    } else {
      return false;
    }
  }
  if (tokens[token] === null) token++;
  return token === tokens.length;
}

const width = (code: number): number => (code > 0xffff ? 2 : 1);
