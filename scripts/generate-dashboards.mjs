#!/usr/bin/env node
// Writes dashboards/*.json from what dashboards/source compiles to. --check fails if one is stale,
// missing or left over.
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { DASHBOARDS, render } from '../dist/dashboards/source/index.js';

const folder = fileURLToPath(new URL('../dashboards/', import.meta.url));
const present = readdirSync(folder).filter((name) => name.endsWith('.json'));
const check = process.argv.includes('--check');
const stale = present.filter((name) => !(name in DASHBOARDS));
if (!check) for (const name of stale) rmSync(folder + name);
for (const [name, dashboard] of Object.entries(DASHBOARDS)) {
  const text = render(dashboard);
  if (present.includes(name) && readFileSync(folder + name, 'utf8') === text) continue;
  if (check) stale.push(name);
  else writeFileSync(folder + name, text);
}
if (check && stale.length > 0) {
  console.error(`stale in dashboards/: ${stale.join(', ')}; run npm run dashboards`);
  process.exit(1);
}
