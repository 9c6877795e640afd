/** From what zod found to sentences. */
import { inspect } from 'node:util';
import type { z } from 'zod';
import { type Problem, SHOWN } from './problem.js';
import { agentJsonSchema } from './schema.js';
import type { Path, Source } from './source.js';
import { keysAt, nearest, sectionOf } from './words.js';

type Issue = z.core.$ZodIssue;

export function toProblems(issues: readonly Issue[], source: Source): Problem[] {
  const schema = agentJsonSchema();
  return issues.flatMap((issue) => problemsOf(issue, []));

  function problemsOf(issue: Issue, before: Path): Problem[] {
    const path = [...before, ...issue.path];
    const here = (message: string): Problem[] => [{ ...source.position(path), message }];
    const name = nameOf(path);
    const value = valueAt(source.value, path);
    switch (issue.code) {
      case 'unrecognized_keys':
        return issue.keys.map((key, index) => ({
          ...source.keyPosition([...path, key]),
          // Those before it in the file fill what is shown.
          message: index < SHOWN ? unknownKey(path, key) : `unknown key '${key}'`,
        }));
      case 'invalid_union': {
        const meant = issue.errors.filter((each) => !each.some(isOtherType));
        if (meant.length === 1) {
          return (meant[0] ?? []).flatMap((inner) => problemsOf(inner, path));
        }
        return here(wrongType(name, value, issue.message));
      }
      case 'invalid_type':
        return here(wrongType(name, value, expectation(issue)));
      case 'invalid_value':
        return here(wrongWord(name, value, issue.values.map(String)));
      case 'too_small':
        return here(
          issue.origin === 'number' || issue.origin === 'int'
            ? `${name} must be at least ${issue.minimum}, not ${described(value)}`
            : `${name} is empty`,
        );
      case 'too_big':
        return here(
          issue.origin === 'string'
            ? `${name} is longer than ${issue.maximum} characters`
            : `${name} must be at most ${issue.maximum}, not ${described(value)}`,
        );
      case 'invalid_key': {
        const reason = issue.issues.map(({ message }) => message).join(', ');
        return [{ ...source.keyPosition(path), message: `${name} ${reason}` }];
      }
      default:
        return here(issue.message);
    }
  }

  function unknownKey(path: Path, key: string): string {
    const where = path.length > 0 ? ` in ${nameOf(path)}` : '';
    const section = sectionOf(schema, path, key);
    if (section !== null) return `unknown key '${key}'${where}; it belongs in '${section}'`;
    const keys = keysAt(schema, path);
    const meant = nearest(key, keys);
    return meant === null
      ? `unknown key '${key}'${where}; there are ${keys.join(', ')}`
      : `unknown key '${key}'${where}; did you mean '${meant}'?`;
  }
}

/** The value is of another type than the whole alternative, so that it was not meant. */
function isOtherType(issue: Issue): boolean {
  if (issue.path.length > 0) return false;
  if (issue.code === 'invalid_union') return issue.errors.every((each) => each.some(isOtherType));
  return issue.code === 'invalid_type' || issue.code === 'invalid_value';
}

/** What the schema says was expected; zod's own words begin with a capital. */
function expectation(issue: z.core.$ZodIssueInvalidType): string {
  if (!/^[A-Z]/.test(issue.message)) return issue.message;
  return issue.expected === 'object' ? 'keys with values' : issue.expected;
}

function wrongType(name: string, value: unknown, expected: string): string {
  if (value === undefined) return `${name} is missing`;
  const quotes =
    expected.startsWith('text') && (typeof value === 'number' || typeof value === 'boolean')
      ? '; put it in quotes'
      : '';
  return `${name} must be ${expected}, not ${described(value)}${quotes}`;
}

function wrongWord(name: string, value: unknown, words: readonly string[]): string {
  if (value === undefined) return `${name} is missing`;
  const meant = typeof value === 'string' ? nearest(value, words) : null;
  const remedy =
    meant === null
      ? `write ${words.slice(0, -1).join(', ')} or ${words.at(-1)}`
      : `did you mean '${meant}'?`;
  return `${name} cannot be ${described(value)}; ${remedy}`;
}

/** Long texts are cut: they stand in the file. */
function described(value: unknown): string {
  if (typeof value === 'string') {
    return value.length > 60 ? `'${value.slice(0, 60)}…'` : `'${value}'`;
  }
  if (value === null) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' ? 'keys with values' : inspect(value);
}

/** 'symbols' for a text in that list too; rules by their number, as the name may be what is wrong. */
function nameOf(path: Path): string {
  const last = path.findLastIndex((step) => typeof step === 'string');
  if (last < 0) return 'the file';
  const name = String(path[last]);
  if (typeof path[last + 1] !== 'number') return `'${name}'`;
  return name === 'rules' ? `rule ${Number(path[last + 1]) + 1}` : `an element of '${name}'`;
}

function valueAt(value: unknown, path: Path): unknown {
  return path.reduce<unknown>(
    (inner, step) =>
      typeof inner === 'object' && inner !== null && Object.hasOwn(inner, step)
        ? (inner as Record<PropertyKey, unknown>)[step]
        : undefined,
    value,
  );
}
