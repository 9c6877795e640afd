/** Which spans of the program's own SDK keep the trees beneath them: by name, status, attributes. */
import { runInNewContext } from 'node:vm';
import { UnderspanError } from '../errors.js';
import type { ProgramSpanRecord } from './call.js';
import { MAX_ATTRIBUTE_TEXT, MAX_SPAN_NAME } from './records.generated.js';
import type { AttributeValue } from './span.js';
import { askFor, type SpanAttribute, UNREADABLE_ATTRIBUTE } from './span-attribute.js';

export interface SpanCondition {
  readonly attributes: readonly SpanAttribute[];
  /** Null: what it depends on could not be read. */
  holds(span: ProgramSpanRecord): boolean | null;
}

type Test = (span: ProgramSpanRecord) => boolean | null;

const TERM = /^\s*span\.(name|status|attr\.([^\s=!<>]+))\s*(==|!=|<=|>=|<|>)\s*(.+?)\s*$/;
const EXAMPLE = `write 'span.attr.tenant.id == "acme"', 'span.status == error' or 'span.name != "GET /"'`;
const STATUSES = new Set(['unset', 'error', 'ok']);
/** Names of spans are few; where they are not, they are matched again. */
const REMEMBERED_NAMES = 10_000;
/** As for names of functions; a busy host may take long for what is simple. */
const TIME_LIMIT_MS = 3_000;

/**
 * All must hold, for one span. `name`: a pattern; null: any. What is asked for is added to
 * `attributes`. Null where nothing is.
 */
export function parseSpanCondition(
  name: string | null,
  where: readonly string[],
  attributes: SpanAttribute[] = [],
): SpanCondition | null {
  if (name === null && where.length === 0) return null;
  const tests = where.map((text) => parseTerm(text, attributes));
  if (name !== null) tests.unshift(nameTest(name));
  return {
    attributes,
    holds: (span) => {
      const results = tests.map((test) => test(span));
      if (results.includes(false)) return false;
      return results.includes(null) ? null : true;
    },
  };
}

/** `*` stands for any characters, `/…/` is a regular expression. */
function nameTest(text: string): Test {
  const [, source] = /^\/(.+)\/$/.exec(text) ?? [];
  if (source === undefined) {
    const parts = text.split('*');
    return ({ name }) => fits(parts, name);
  }
  const expression = expressionOf(text, source);
  const known = new Map<string, boolean>();
  let givenUp = false;
  return ({ name }) => {
    const before = known.get(name);
    if (before !== undefined) return before;
    if (givenUp) return null;
    const matches = testWithin(TIME_LIMIT_MS, expression, name);
    if (matches === null) {
      // Another name could stop everything for as long.
      givenUp = true;
      return null;
    }
    if (known.size >= REMEMBERED_NAMES) known.clear();
    known.set(name, matches);
    return matches;
  };
}

function expressionOf(text: string, source: string): RegExp {
  try {
    return new RegExp(source);
  } catch (error) {
    throw invalid(
      `'${text}' is not a regular expression`,
      'expressions are those of JavaScript; a backslash makes the next character literal',
      { cause: error },
    );
  }
}

/** Null for an expression that backtracks for longer: nobody else would get a turn. */
function testWithin(timeout: number, expression: RegExp, name: string): boolean | null {
  try {
    return runInNewContext('expression.test(name)', { expression, name }, { timeout }) as boolean;
  } catch {
    return null;
  }
}

/** The text between two wildcards is taken where it stands first, so that no text is looked at twice. */
function fits(parts: readonly string[], name: string): boolean {
  const [first = '', ...others] = parts;
  const last = others.pop();
  if (last === undefined) return name === first;
  if (!name.startsWith(first) || name.length < first.length + last.length) return false;
  let at = first.length;
  for (const part of others) {
    const found = name.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return name.length - last.length >= at && name.endsWith(last);
}

function parseTerm(text: string, attributes: SpanAttribute[]): Test {
  const [, field = '', attribute, operator = '', written = ''] = TERM.exec(text) ?? [];
  const value = valueOf(written, field);
  if (field === '' || value === null) throw invalid(`'${text}' is no condition on a span`, EXAMPLE);
  const ordered = operator !== '==' && operator !== '!=';
  if (ordered && typeof value !== 'number') {
    throw invalid(`'${text}' asks for an order, which only numbers have`, "write '==' or '!='");
  }
  const limit = field === 'name' ? MAX_SPAN_NAME : MAX_ATTRIBUTE_TEXT;
  if (typeof value === 'string' && Buffer.byteLength(value) >= limit) {
    throw invalid(`'${text}' has a text of more than ${limit - 1} bytes`, 'that much is read');
  }
  if (attribute === undefined) {
    if (typeof value !== 'string' || (field === 'status' && !STATUSES.has(value))) {
      throw invalid(`'${text}' can hold for no span`, EXAMPLE);
    }
    return (span) => compare(field === 'name' ? span.name : span.status, operator, value);
  }
  const number = askFor(attribute, attributes);
  return ({ attributes: present }) => {
    const found = present?.get(number);
    if (found !== undefined) return compare(found, operator, value);
    return present?.has(UNREADABLE_ATTRIBUTE) ? null : false;
  };
}

function valueOf(written: string, field: string): AttributeValue | null {
  const [, double, single] = /^(?:"(.*)"|'(.*)')$/.exec(written) ?? [];
  if (double !== undefined || single !== undefined) return double ?? single ?? null;
  if (field === 'status') return written;
  if (written === 'true' || written === 'false') return written === 'true';
  return /^-?\d+(?:\.\d+)?(?:e[+-]?\d+)?$/i.test(written) ? Number(written) : null;
}

/** What is of another kind is not compared: neither equal nor unequal. */
function compare(found: AttributeValue, operator: string, value: AttributeValue): boolean {
  if (typeof found !== typeof value) return false;
  switch (operator) {
    case '==':
      return found === value;
    case '!=':
      return found !== value;
    case '<':
      return found < value;
    case '<=':
      return found <= value;
    case '>':
      return found > value;
    default:
      return found >= value;
  }
}

const invalid = (what: string, hint: string, options?: ErrorOptions): UnderspanError =>
  new UnderspanError('usage', 'CONDITION_INVALID', what, hint, options);
