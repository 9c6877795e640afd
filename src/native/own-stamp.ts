/** Tells this program from another version of it, by which other things are found. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

// This file runs from dist/src/native/.
const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const FOLDERS = [
  'build/Release',
  ...['native', 'plan', 'spans', 'symbols'].map((folder) => `dist/src/${folder}`),
];
const COMPILED = /\.(?:js|node)$/;

let known: string | null = null;

/** The version, and of what is compiled from a checkout when that was. */
export function ownStamp(): string {
  known ??= [
    readFileSync(`${ROOT}package.json`, 'utf8').match(/"version": *"([^"]*)"/)?.[1] ?? '',
    ...FOLDERS.map((folder) => newest(`${ROOT}${folder}`)),
  ].join(' ');
  return known;
}

function newest(folder: string): number {
  const times = readdirSync(folder)
    .filter((file) => COMPILED.test(file))
    .map((file) => statSync(`${folder}/${file}`).mtimeMs);
  return Math.max(0, ...times);
}
