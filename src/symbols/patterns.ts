import { runInNewContext } from 'node:vm';
import { UnderspanError } from '../errors.js';
import { forEachName, ownCopy } from './joined-names.js';

/** Where a pattern's functions are looked for. */
export type PatternModule =
  | { kind: 'main' }
  | { kind: 'kernel' }
  /** A shared library by its file name: "libssl.so.3"; "libssl.so" takes any version. */
  | { kind: 'library'; file: string }
  /** A mapped file by its path, as the target sees it. */
  | { kind: 'path'; path: string };

/** `[MODULE:]NAME`, read. */
export interface Pattern {
  /** As the user wrote it. */
  readonly text: string;
  readonly module: PatternModule;
  /** NAME as the user wrote it. */
  readonly name: string;
  /** Matches a function's whole name. */
  readonly expression: RegExp;
  /** NAME has wildcards or is a regular expression. */
  readonly wild: boolean;
  /** NAME speaks of parameters, so that it is compared with signatures too. */
  readonly signature: boolean;
}

export interface Matches {
  /** Indexes of the names that some pattern matches and no exclusion does, ascending. */
  indexes: number[];
  /** For each pattern, how many names it matches (excluded ones too). */
  counts: number[];
  /** For each of `indexes` that name. */
  names: string[];
  /** How many names a pattern matched and an exclusion took away. */
  excluded: number;
}

/** Names of a large program are matched in some 50 ms; an expression that backtracks takes for ever. */
const TIME_LIMIT_MS = 3_000;

const LIBRARY = /\.so(?:\.[\w.]+)?$/;

/**
 * MODULE is told from NAME by its look alone, since Go and C++ names hold colons too
 * (`go:itab.…`, `ns::f`): it is `kernel`, ends in `.so` or `.so.N`, or is a path that begins
 * with `/`, `./` or `../`; all else before a colon belongs to the name. A path that itself holds a
 * colon cannot be written: give the library's file name. `/…/` is a regular expression, and
 * `/path:/…/` one in a module; an expression that holds `:/` has to write it `[:]/`.
 */
function split(text: string): { module: PatternModule; name: string } {
  const slashes = isExpression(text);
  const inModule = slashes ? text.slice(0, -1).indexOf(':/') : singleColon(text);
  if (inModule > 0) {
    const module = moduleOf(text.slice(0, inModule));
    if (module) return { module, name: text.slice(inModule + 1) };
  }
  if (text.startsWith('/') && !slashes) {
    throw new UnderspanError(
      'usage',
      'PATTERN_INVALID',
      `pattern '${text}' is neither a regular expression nor a function of a module`,
      `write '${text}/' for a regular expression, '${text}:*' for the functions of that file`,
    );
  }
  return { module: { kind: 'main' }, name: text };
}

const isExpression = (name: string): boolean =>
  name.length > 2 && name.startsWith('/') && name.endsWith('/');

/** Position of the first colon that is not part of "::", or -1. */
function singleColon(text: string): number {
  return text.search(/(?<!:):(?!:)/);
}

function moduleOf(text: string): PatternModule | null {
  if (text === 'kernel') return { kind: 'kernel' };
  if (/^\.{0,2}\//.test(text)) return { kind: 'path', path: text };
  if (LIBRARY.test(text)) {
    return text.includes('/') ? { kind: 'path', path: text } : { kind: 'library', file: text };
  }
  return null;
}

/** Reads `[MODULE:]NAME`. Throws a usage error. */
export function parsePattern(text: string): Pattern {
  if (text.includes('\n') || text.includes('\0')) {
    throw new UnderspanError('usage', 'PATTERN_INVALID', 'a pattern cannot hold a line break');
  }
  const { module, name } = split(text);
  if (name === '') {
    throw new UnderspanError(
      'usage',
      'PATTERN_INVALID',
      text === '' ? 'a pattern is empty' : `pattern '${text}' names no function`,
      text === '' ? "name a function, such as 'main.*'" : `write '${text}*' for all of them`,
    );
  }
  if (isExpression(name)) {
    const expression = parseExpression(text, name.slice(1, -1));
    return { text, module, name, expression, wild: true, signature: hasParameters(name) };
  }
  if (module.kind === 'kernel') {
    const expression = new RegExp(`^${symbolSource(name)}$`);
    return { text, module, name, expression, wild: name.includes('*'), signature: false };
  }
  const expression = new RegExp(`^${nameSource(name)}$`);
  const signature = hasParameters(name);
  return { text, module, name, expression, wild: hasWildcard(name), signature };
}

/** Parentheses that are part of C++ names: `operator()`, `(anonymous namespace)`, `{lambda(int)#1}`. */
const IN_NAMES = /operator\\?\(\\?\)|\\?\(anonymous namespace\\?\)|\\?\{lambda.*?#/g;

/** Of an expression only an escaped parenthesis is one. */
function hasParameters(name: string): boolean {
  const rest = name.replace(IN_NAMES, '');
  return isExpression(name) ? /\\\(|\[\(\]/.test(rest) : rest.includes('(');
}

function parseExpression(text: string, source: string): RegExp {
  try {
    return new RegExp(source);
  } catch (error) {
    const reason = error instanceof Error ? error.message.replace(/^.*?\/: /, '') : String(error);
    throw new UnderspanError(
      'usage',
      'PATTERN_INVALID',
      `pattern '${text}' is not a regular expression: ${reason}`,
      'expressions are those of JavaScript; a backslash makes the next character literal',
      { cause: error },
    );
  }
}

/** What a regular expression knows of pairs of brackets: as many levels as names have. */
function balanced(open: string, close: string): string {
  const plain = `[^${open}${close}]*`;
  let inside = plain;
  for (let level = 0; level < 4; level++) {
    inside = `${plain}(?:\\${open}${inside}\\${close}${plain})*`;
  }
  return `\\${open}${inside}\\${close}`;
}

/** Rust writes `::` before the arguments of a function. */
const TEMPLATE_ARGUMENTS = `(?:(?:::)?${balanced('<', '>')})?`;
const PARAMETERS = `(?:${balanced('(', ')')}(?: (?:const|volatile|noexcept|&&?))*)?`;

/** `.(*T)` is a Go receiver; any other `*` is a wildcard, also that of `.(*).`. */
const TOKENS = /\.\(\*(?=[^)*])|\*+|\[\.\.\.\]|\.|::|, *| *>|[^]/gu;

function hasWildcard(name: string): boolean {
  return name.match(TOKENS)?.some((token) => token.startsWith('*')) ?? false;
}

function nameSource(name: string): string {
  // What the user left out may be there: a receiver's parentheses, type arguments, parameters.
  const withoutParentheses = !name.includes('(');
  const withoutArguments = !name.includes('[');
  const typeArguments = withoutArguments ? '(?:\\[.*\\])?' : '';
  // Go writes the dots of an import path's last element as %2e: gopkg.in/yaml%2ev3.Unmarshal.
  const escapedDot = name.includes('/') ? '(?:\\.|%2e)' : '\\.';
  const dot = withoutParentheses ? `${typeArguments}\\)?${escapedDot}(?:\\(\\*?)?` : escapedDot;
  // C++ and Rust: template arguments, and the brackets of a type that Rust writes as `<T>::f`.
  const withoutTemplates = name.includes('::') && !/<(?!<|=|$)/.test(name);
  const templates = withoutTemplates ? TEMPLATE_ARGUMENTS : '';
  let part: Part = { source: withoutTemplates ? '<?' : '', plain: !withoutTemplates };
  const parts = [part];
  const add = (source: string): void => {
    part.source += source;
    part.plain = false;
  };
  for (const [token] of name.matchAll(TOKENS)) {
    if (token === '.(*') add(`${escapedDot}\\(\\*`);
    else if (token === ')') add(`${typeArguments}\\)`);
    else if (token.startsWith('*')) parts.push((part = { source: '', plain: true }));
    else if (token === '[...]') add('\\[.*\\]');
    else if (token === '.') add(dot);
    else if (token === '::') add(withoutTemplates ? `${templates}>?::` : token);
    // Spaces as the demangler writes them are not for users to know.
    else if (token.startsWith(',')) add(', ?');
    else if (token.endsWith('>')) add(' ?>');
    else part.source += quoted(token);
  }
  const rest = typeArguments + templates + (withoutParentheses ? PARAMETERS : '');
  return withWildcards(parts) + rest;
}

/** What stands before, between or behind wildcards. */
interface Part {
  source: string;
  /** It matches one text only. */
  plain: boolean;
}

const quoted = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');

/** Names of the kernel are words of C: in them nothing can be left out but what a wildcard stands for. */
const symbolSource = (name: string): string =>
  withWildcards(name.split(/\*+/).map((part) => ({ source: quoted(part), plain: true })));

/**
 * A text between two wildcards is taken where it stands first. To try all places would take the
 * longer the more wildcards there are, and finds nothing else.
 */
function withWildcards(parts: readonly Part[]): string {
  return parts
    .map(({ source, plain }, index) => {
      if (index === 0) return source;
      const isBetween = plain && source !== '' && index < parts.length - 1;
      return isBetween ? `(?:(?!${source}).)*${source}` : `.*${source}`;
    })
    .join('');
}

/** Refuses what belongs to the kernel: a handler of HTTP requests is the program's. */
export function inProcess(pattern: Pattern): Pattern {
  if (pattern.module.kind !== 'kernel') return pattern;
  throw new UnderspanError(
    'unsupported',
    'MODULE_UNSUPPORTED',
    `'${pattern.text}': functions of the kernel cannot be meant here`,
    'leave out what stands before the colon',
  );
}

export function matches(pattern: Pattern, name: string): boolean {
  return pattern.expression.test(name);
}

/** Joined by line breaks; "" is a function without a signature. */
export interface FunctionNames {
  names: string;
  signatures: string;
}

/**
 * Matches a function table's names, joined by line breaks, and their signatures. All patterns belong
 * to the same module. An expression that takes too long is a usage error.
 */
export function matchAll(
  patterns: readonly Pattern[],
  excludes: readonly Pattern[],
  table: string | FunctionNames,
  timeLimitMs = TIME_LIMIT_MS,
): Matches {
  const joinedNames = typeof table === 'string' ? table : table.names;
  const speakOfParameters = [...patterns, ...excludes].some(({ signature }) => signature);
  const signatures =
    typeof table === 'string' || !speakOfParameters ? [] : table.signatures.split('\n');
  const fits = (pattern: Pattern, name: string, index: number): boolean =>
    pattern.expression.test(name) ||
    (pattern.signature && signatures[index] ? pattern.expression.test(signatures[index]) : false);
  const result: Matches = { indexes: [], counts: patterns.map(() => 0), names: [], excluded: 0 };
  const bySignature = patterns.filter(({ signature }) => signature);
  const run = (): void => {
    const any = union(patterns);
    forEachName(joinedNames, (name, index) => {
      if (
        !any.some((expression) => expression.test(name)) &&
        !bySignature.some((pattern) => fits(pattern, name, index))
      ) {
        return;
      }
      patterns.forEach((pattern, i) => {
        if (fits(pattern, name, index)) result.counts[i] = (result.counts[i] ?? 0) + 1;
      });
      if (excludes.some((pattern) => fits(pattern, name, index))) {
        result.excluded++;
        return;
      }
      result.indexes.push(index);
      result.names.push(ownCopy(name));
    });
  };
  withinTimeLimit(run, timeLimitMs, [...patterns, ...excludes]);
  return result;
}

/** One expression for all names; regular expressions stay apart, since each counts its groups. */
function union(patterns: readonly Pattern[]): RegExp[] {
  const apart = patterns.filter((pattern) => isExpression(pattern.name));
  const joined = patterns.filter((pattern) => !isExpression(pattern.name));
  const expressions = apart.map((pattern) => pattern.expression);
  if (joined.length === 0) return expressions;
  const sources = joined.map((pattern) => pattern.expression.source);
  return [new RegExp(sources.join('|')), ...expressions];
}

/** Only a script's time limit reaches into an expression that backtracks. */
function withinTimeLimit(run: () => void, timeout: number, patterns: readonly Pattern[]): void {
  try {
    runInNewContext('run()', { run }, { timeout });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error;
    const wild = patterns.filter((pattern) => pattern.wild).map((pattern) => `'${pattern.text}'`);
    throw new UnderspanError(
      'usage',
      'PATTERN_TOO_SLOW',
      `matching ${wild.join(', ')} took longer than ${timeout / 1_000} s and was given up`,
      'a repetition inside a repetition, such as (a+)+, tries every way to divide a name',
    );
  }
}
