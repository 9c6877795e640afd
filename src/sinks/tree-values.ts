/** The table of requests by a value, and of what they spent their time in. */
import type { ValuesSummary, ValueSummary } from './sink.js';
import { count, duration, type Paint, printable, table } from './tree-format.js';

/** Of each value; all are in the other outputs. */
const MOST_FUNCTIONS = 5;
/** Of a value that is no name of ours. */
const NAMES = { other: 'other', none: '(none)', unknown: '(unknown)' } as const;
const OWN_NAMES = new Set<string>(Object.values(NAMES));

export function valueLines({ key, values }: ValuesSummary, paint: Paint): string[] {
  if (values.length === 0) return [];
  const head = [printable(key), 'requests', 'calls', 'mean', 'max', 'total'];
  const rows = values.map((value) => rowsOf(value));
  const [first = '', ...lines] = table([head, ...rows.flat()]);
  const shown = rows.map((group) => {
    const [value = '', ...functions] = lines.splice(0, group.length);
    return [paint.bold(value), ...functions];
  });
  return [
    '',
    paint.bold(first),
    ...shown.flat(),
    paint.dim('of spans that were kept; each value with its five longest functions'),
  ];
}

function rowsOf({ requests, totalNano, maxNano, functions, ...named }: ValueSummary): string[][] {
  const calls = functions.reduce((sum, each) => sum + each.calls, 0);
  return [
    [nameOf(named), count(requests), count(calls), ...times(requests, totalNano, maxNano)],
    ...functions
      .slice(0, MOST_FUNCTIONS)
      .map(({ name, calls, totalNano, maxNano }) => [
        `  ${printable(name)}`,
        '',
        count(calls),
        ...times(calls, totalNano, maxNano),
      ]),
  ];
}

const times = (number: number, totalNano: number, maxNano: number): string[] => [
  duration(totalNano / number),
  duration(maxNano),
  duration(totalNano),
];

function nameOf({ kind, value }: Pick<ValueSummary, 'kind' | 'value'>): string {
  if (kind !== 'value') return NAMES[kind];
  const text = printable(String(value));
  return text === '' || OWN_NAMES.has(text) ? `'${text}'` : text;
}
