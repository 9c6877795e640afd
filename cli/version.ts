import { readFileSync } from 'node:fs';

/** Of this package, as its manifest says it. */
export function version(): string {
  // This file runs from dist/cli/.
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
