/** Rules that say the same twice, looked for also where other things are wrong. */
import type { Problem } from './problem.js';
import { selectSchema } from './schema.js';
import type { Source } from './source.js';

export function duplicateRules(source: Source): Problem[] {
  const problems: Problem[] = [];
  const rules = (source.value as { rules?: unknown } | null)?.rules;
  if (!Array.isArray(rules)) return problems;
  const names = new Map<string, number>();
  const selections = new Map<string, number>();
  (rules as unknown[]).forEach((rule, index) => {
    const { name, select } = (rule ?? {}) as { name?: unknown; select?: unknown };
    const lineOf = (earlier: number, key: string): number =>
      source.position(['rules', earlier, key]).line;
    if (typeof name === 'string') {
      const earlier = names.get(name);
      if (earlier === undefined) names.set(name, index);
      else {
        const message = `the rule of line ${lineOf(earlier, 'name')} is named '${name}' too`;
        problems.push({ ...source.position(['rules', index, 'name']), message });
      }
    }
    const parsed = selectSchema.safeParse(select);
    if (!parsed.success) return;
    const selection = canonical(parsed.data);
    const earlier = selections.get(selection);
    if (earlier === undefined) selections.set(selection, index);
    else {
      const message =
        `the rule of line ${lineOf(earlier, 'select')} selects the same, ` +
        'so that this one would never apply';
      problems.push({ ...source.keyPosition(['rules', index, 'select']), message });
    }
  });
  return problems;
}

/** The same for the same selection, in whatever order it is written. */
function canonical(select: Record<string, string[] | Record<string, string>>): string {
  const entries = Object.entries(select).map(([kind, values]) => [
    kind,
    Array.isArray(values) ? [...new Set(values)].sort() : Object.entries(values).sort(),
  ]);
  return JSON.stringify(entries);
}
