/**
 * A Go program of test/targets that writes into a file what it has measured, traced from its first
 * instruction: what was seen, and what it says itself.
 */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inFolder } from './folder.js';
import { buildVariant, type GoBuild } from './go-builds.js';
import { obtained, type Skippable } from './require.js';
import { type JsonSpan, Tracer } from './tracer.js';

export interface Reported<Report> {
  report: Report;
  tracer: Tracer;
  named: (name: string) => JsonSpan[];
}

const PLAIN: GoBuild = { name: 'default', flags: [] };

/** `args`: the program's, with the file that it writes. Null: it cannot be built here. */
export async function traceReporting<Report>(
  t: Skippable,
  target: string,
  { release, build = PLAIN }: { release: string; build?: GoBuild },
  args: (file: string) => readonly string[],
  options: readonly string[],
): Promise<Reported<Report> | null> {
  const binary = await obtained(t, buildVariant(target, release, build, 'go.mod'));
  if (binary === null) return null;
  return inFolder(async (folder) => {
    const file = join(folder, 'report.json');
    const tracer = Tracer.start([...options, '--', binary, ...args(file)]);
    assert.equal(await tracer.ended(), 0, tracer.stderr);
    const report = JSON.parse(await readFile(file, 'utf8')) as Report;
    const named = (wanted: string): JsonSpan[] =>
      tracer.spans.filter(({ name }) => name === wanted);
    return { report, tracer, named };
  });
}
