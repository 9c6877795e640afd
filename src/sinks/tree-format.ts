/** Text for a person: durations, colours, and names that cannot harm a terminal. */

const UNITS = [
  { ns: 60e9, text: 'min' },
  { ns: 1e9, text: 's' },
  { ns: 1e6, text: 'ms' },
  { ns: 1e3, text: 'µs' },
] as const;

/** Three significant digits: "1.23 ms", "45.6 µs", "789 ns". */
export function duration(ns: number): string {
  for (const { ns: unit, text } of UNITS) {
    // What would round up to a thousand belongs to the unit above.
    if (ns >= unit * 0.9995) return `${digits(ns / unit)} ${text}`;
  }
  return `${Math.round(ns)} ns`;
}

function digits(value: number): string {
  if (value >= 99.95) return value.toFixed(0);
  return value.toFixed(value >= 9.995 ? 1 : 2);
}

/** Three significant digits: "1.23 GiB", "45.6 KiB", "789 B". */
export function size(bytes: number): string {
  const units = ['KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let value = bytes;
  let unit = 'B';
  while (value >= 1023.5 && units.length > 0) {
    value /= 1024;
    unit = units.shift() ?? unit;
  }
  return `${unit === 'B' ? Math.round(value) : digits(value)} ${unit}`;
}

/** Thousands apart, the same in every locale. */
export function count(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ',');
}

/** "1 function", "2 functions". */
export const plural = (value: number, noun: string): string =>
  `${count(value)} ${noun}${value === 1 ? '' : 's'}`;

/**
 * Names come out of another program's memory: control characters, which a terminal would obey,
 * are shown as escapes, and so are those that change the direction of text.
 */
export function printable(text: string): string {
  return text.replace(
    /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** Columns that a text takes; characters outside the BMP count once. */
export function width(text: string): number {
  let columns = 0;
  for (const character of text) if (character >= ' ') columns++;
  return columns;
}

export interface Paint {
  bold(text: string): string;
  dim(text: string): string;
  red(text: string): string;
}

const plain = (text: string): string => text;
const painted =
  (from: number, to: number) =>
  (text: string): string =>
    `\u001b[${from}m${text}\u001b[${to}m`;

export const PLAIN: Paint = { bold: plain, dim: plain, red: plain };
export const COLOURS: Paint = { bold: painted(1, 22), dim: painted(2, 22), red: painted(31, 39) };

/** Lines as a table: the first column to the left, the others to the right. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, index) => {
      widths[index] = Math.max(widths[index] ?? 0, width(cell));
    });
  }
  return rows.map((row) =>
    row
      .map((cell, index) => {
        const gap = ' '.repeat((widths[index] ?? 0) - width(cell));
        return index === 0 ? cell + gap : gap + cell;
      })
      .join('  ')
      .trimEnd(),
  );
}
