#!/usr/bin/env node
// Writes the table of kernels and features in README.md from the list that `trace doctor` uses, as it
// was built into dist/, and from what the kernels of test/kernels have (test/kernels/features.json,
// which their test keeps true). --check fails if the table is stale.
import { readFileSync, writeFileSync } from 'node:fs';

const root = new URL('..', import.meta.url).pathname;
const { FEATURES } = await import(`${root}dist/src/native/features.js`);
const kernels = JSON.parse(readFileSync(`${root}test/kernels/features.json`, 'utf8'));
const output = `${root}README.md`;
const [BEGIN, END] = ['<!-- features -->', '<!-- /features -->'];

const names = Object.keys(kernels);
const row = (cells) => `| ${cells.join(' | ')} |`;
const rows = Object.entries(FEATURES).map(([key, { name, gives, without }]) =>
  row([name, gives, without, ...names.map((kernel) => (kernels[kernel][key] ? 'yes' : '–'))]),
);
const table = [
  row(['feature', 'gives', 'without it', ...names]),
  row(['---', '---', '---', ...names.map(() => ':-:')]),
  ...rows,
].join('\n');

const before = readFileSync(output, 'utf8');
const [from, to] = [before.indexOf(BEGIN), before.indexOf(END)];
if (from < 0 || to < from)
  throw new Error(`README.md has no place for the table: ${BEGIN} … ${END}`);
const after = `${before.slice(0, from)}${BEGIN}\n\n${table}\n\n${before.slice(to)}`;
if (process.argv.includes('--check')) {
  if (after !== before) {
    console.error('the table of features in README.md is stale: run scripts/generate-features.mjs');
    process.exit(1);
  }
} else {
  writeFileSync(output, after);
}
