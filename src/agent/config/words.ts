/** What may be written at a place of the file, to name what a mistyped word was meant to be. */
import type { z } from 'zod';
import { distance } from '../../symbols/suggest.js';
import type { Path } from './source.js';

type JsonSchema = z.core.JSONSchema.BaseSchema;

/** The keys that may stand in what is at the path. */
export function keysAt(schema: JsonSchema, path: Path): string[] {
  return schemasAt(schema, path).flatMap(({ properties }) => Object.keys(properties ?? {}));
}

/** The section beside these keys to which this one belongs; null if there is none, or several. */
export function sectionOf(schema: JsonSchema, path: Path, key: string): string | null {
  const sections = keysAt(schema, path).filter((name) =>
    keysAt(schema, [...path, name]).includes(key),
  );
  return sections.length === 1 ? (sections[0] ?? null) : null;
}

function schemasAt(schema: JsonSchema, path: Path): JsonSchema[] {
  const alternatives = (schema.anyOf ?? []).filter((each) => typeof each === 'object');
  const all: JsonSchema[] = [schema, ...alternatives];
  const [step, ...rest] = path;
  if (step === undefined) return all;
  return all.flatMap(({ properties, items }) => {
    const next = typeof step === 'number' ? items : properties?.[String(step)];
    return typeof next === 'object' && !Array.isArray(next) ? schemasAt(next, rest) : [];
  });
}

/** The word that was probably meant; null if none is near. Case is no difference. */
export function nearest(word: string, words: readonly string[]): string | null {
  const limit = Math.max(1, Math.floor(word.length / 3));
  let best: string | null = null;
  let least = limit;
  for (const candidate of words) {
    const far = distance(word.toLowerCase(), candidate.toLowerCase(), limit);
    if (far > least || (far === least && best !== null)) continue;
    best = candidate;
    least = far;
  }
  return best;
}
