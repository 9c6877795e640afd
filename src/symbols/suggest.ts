import { existsSync } from 'node:fs';
import { UnderspanError } from '../errors.js';
import type { Pattern } from './patterns.js';

/** A function's name, taken apart for comparison: lower case, no receiver's or type's brackets. */
interface Parts {
  /** All but the last component: "main.order". */
  scope: string;
  /** "confirm". */
  last: string;
}

const BRACKETED = /\[[^\]]*\]+|[()*]/g;

/** Template and generic arguments, innermost first. */
function withoutArguments(name: string): string {
  let plain = name;
  for (let before = ''; plain !== before && plain.includes('<');) {
    before = plain;
    plain = plain.replace(/(?:::)?<[^<>]*>/g, '');
  }
  return plain;
}

function partsOf(name: string): Parts {
  const short = name.includes('::') ? withoutArguments(name) : name;
  const plain = (/[[(*]/.test(short) ? short.replace(BRACKETED, '') : short).toLowerCase();
  const end = Math.max(plain.lastIndexOf('.'), plain.lastIndexOf(':'), plain.lastIndexOf('/'));
  return { scope: plain.slice(0, Math.max(end, 0)), last: plain.slice(end + 1) };
}

/** "net/http" of "net/http.(*ServeMux).ServeHTTP"; null where the name has no package. */
function packageOf(name: string): string | null {
  const bracket = name.search(/[[(]/);
  const head = bracket < 0 ? name : name.slice(0, bracket);
  const dot = head.indexOf('.', head.lastIndexOf('/') + 1);
  return dot <= 0 ? null : head.slice(0, dot);
}

/**
 * Edits between two texts, two letters swapped being one; `limit + 1` as soon as it is known to be
 * larger than `limit`.
 */
export function distance(a: string, b: string, limit: number): number {
  if (a === b) return 0;
  if (Math.abs(a.length - b.length) > limit) return limit + 1;
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    let smallest = i;
    for (let j = 1; j <= b.length; j++) {
      const substituted = (last[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      let cost = Math.min(substituted, (last[j] ?? 0) + 1, (current[j - 1] ?? 0) + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        cost = Math.min(cost, (beforeLast[j - 2] ?? 0) + 1);
      }
      current.push(cost);
      if (cost < smallest) smallest = cost;
    }
    // A swap reaches back two rows, and so may still save one.
    if (smallest > limit + 1) return limit + 1;
    beforeLast = last;
    last = current;
  }
  return Math.min(last[b.length] ?? 0, limit + 1);
}

/** How many slips are still the same word. */
const slips = (text: string): number => Math.max(1, Math.floor(text.length / 3));

/** Names that a pattern may have meant, best first. Comparison ignores case. */
export function suggest(pattern: Pattern, joinedNames: string, count = 3): string[] {
  const names = joinedNames === '' ? [] : joinedNames.split('\n');
  const text = plainText(pattern);
  const { scope, last } = partsOf(text);
  if (last === '') return suggestPackages(scope, names, count);
  const limit = slips(last);
  const found: { name: string; score: number }[] = [];
  for (const name of names) {
    // The cheap half of the comparison first: most names differ in length alone.
    const end = Math.max(name.lastIndexOf('.'), name.lastIndexOf(':'));
    if (
      Math.abs(name.length - end - 1 - last.length) > limit &&
      !/[[(>]/.test(name.slice(end + 1))
    ) {
      continue;
    }
    const parts = partsOf(name);
    const far = distance(last, parts.last, limit);
    if (far > limit) continue;
    const scopeFar = scope === '' ? 0 : distance(scope, parts.scope, 40) / 4;
    found.push({ name, score: far + scopeFar + name.length / 1_000 });
  }
  found.sort((a, b) => a.score - b.score || (a.name < b.name ? -1 : 1));
  return [...new Set(found.map((item) => item.name))].slice(0, count);
}

/** What a pattern says literally: wildcards at its ends dropped, of an expression the longest word. */
function plainText(pattern: Pattern): string {
  const { name } = pattern;
  if (name.length > 2 && name.startsWith('/') && name.endsWith('/')) {
    const words = name.match(/[A-Za-z_]\w+/g) ?? [];
    return words.reduce((longest, word) => (word.length > longest.length ? word : longest), '');
  }
  return name.replace(/^\*+\.?/, '');
}

/** "ns::Class" of "ns::Class::method"; null where the name has none that is plain. */
function scopeOf(name: string): string | null {
  const end = name.lastIndexOf('::');
  return end <= 0 || /[<({]/.test(name.slice(0, end)) ? null : name.slice(0, end);
}

/** For a pattern such as "mian.*" or "sohp::*", whose only word is a package or a scope. */
function suggestPackages(scope: string, names: readonly string[], count: number): string[] {
  const isScope = scope.endsWith(':');
  const wanted = isScope ? scope.slice(0, -1) : scope;
  if (wanted === '') return [];
  const packages = new Set<string>();
  for (const name of names) {
    const found = isScope ? scopeOf(name) : packageOf(name);
    if (found !== null) packages.add(found);
  }
  const limit = slips(wanted);
  return [...packages]
    .map((name) => {
      const lower = name.toLowerCase();
      // "shop.*" for "example.com/shop.*": the path's last element is what one remembers.
      const far = Math.min(
        distance(wanted, lower, limit),
        distance(wanted, lower.slice(lower.lastIndexOf('/') + 1), limit) + 0.5,
      );
      return { name, far };
    })
    .filter(({ far }) => far <= limit)
    .sort((a, b) => a.far - b.far || (a.name < b.name ? -1 : 1))
    .slice(0, count)
    .map(({ name }) => `${name}${isScope ? '::' : '.'}*`);
}

/** Those of the patterns that are names of files here, which a shell put in a pattern's place. */
export function shellExpanded(
  patterns: readonly string[],
  exists: (path: string) => boolean = existsSync,
): string[] {
  return patterns.filter((text) => text !== '' && !text.includes(':') && exists(text));
}

/** Several patterns that are all files are no accident: the shell expanded a wildcard. */
export function refuseShellExpanded(
  patterns: readonly string[],
  exists: (path: string) => boolean = existsSync,
): void {
  if (patterns.length < 2) return;
  if (shellExpanded(patterns, exists).length < patterns.length) return;
  throw new UnderspanError(
    'usage',
    'PATTERN_EXPANDED',
    `the patterns ${some(patterns)} are names of files here: the shell has expanded a wildcard`,
    "put each pattern in single quotes: 'main.*'",
  );
}

/** What to do about a pattern that matches no function of a module. */
export function hintFor(
  pattern: Pattern,
  joinedNames: string,
  exists: (path: string) => boolean = existsSync,
): string {
  const { text } = pattern;
  if (shellExpanded([text], exists).length > 0) {
    return `a file here is named '${text}': if the shell expanded a pattern, put it in single quotes`;
  }
  const names = suggest(pattern, joinedNames);
  if (names.length > 0) {
    const module = pattern.module.kind === 'kernel' ? 'kernel:' : '';
    return `the nearest names are ${names.map((name) => `'${module}${name}'`).join(', ')}`;
  }
  if (pattern.module.kind === 'kernel') {
    return 'functions that the compiler has inlined have no code of their own: name one that calls it';
  }
  if (/^[\w.+-]+:[^:]/.test(text)) {
    return "before a colon stands a library's file name, with its .so, or 'kernel'";
  }
  return "'trace symbols' lists what there is";
}

function some(texts: readonly string[]): string {
  const shown = texts.slice(0, 3).map((text) => `'${text}'`);
  return shown.join(', ') + (texts.length > 3 ? ` and ${texts.length - 3} more` : '');
}
