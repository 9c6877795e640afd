/** docs/benchmarks.md: one section for each group of figures, and what is to be reached before them. */
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { fileURLToPath } from 'node:url';
import { type Found, renderFound, renderReach } from './reach.js';

const PAGE = fileURLToPath(new URL('../../docs/benchmarks.md', import.meta.url));
const HEAD = '# Benchmarks\n\nWritten by `npm run bench`; each section says when and where.\n';
const REACH = '## What is to be reached\n';
const REACH_TEXT =
  'Ratios are of what each adds to the untraced program, round by round in turn within one run: median (least to most) of the rounds. The floor is an empty BPF program at the best sites of the same kind.';

const today = new Date().toISOString().slice(0, 10);
const machine = `${today}: Linux ${release()}, ${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown CPU'}, Node ${process.versions.node}.`;

export interface Section {
  title: string;
  /** What it says below its title; "" for rows of the table alone. */
  measure: () => Promise<{ text: string; found: Found }>;
}

/** Measures the sections that are wanted, one after the other, and keeps each as soon as it is there. */
export async function writePage(
  sections: Record<string, Section>,
  wanted: readonly string[],
): Promise<void> {
  for (const [name, { title, measure }] of Object.entries(sections)) {
    if (!wanted.includes(name)) continue;
    process.stderr.write(`bench: ${name} …\n`);
    const { text, found } = await measure();
    const kept = keptParts();
    if (text !== '') kept.set(`## ${title}\n`, `${machine}\n\n${text.trimEnd()}`);
    const before = kept.get(REACH) ?? '';
    kept.set(REACH, `${REACH_TEXT}\n\n${renderReach(found, before, today)}`);
    const order = [REACH, ...Object.values(sections).map((each) => `## ${each.title}\n`)];
    const parts = order.flatMap((heading) => {
      const body = kept.get(heading);
      return body === undefined ? [] : [`${heading}\n${body}`];
    });
    writeFileSync(PAGE, `${[HEAD.trimEnd(), ...parts].join('\n\n')}\n`);
    process.stdout.write(`${[text, renderFound(found, today)].join('\n')}\n`);
  }
}

/** By their headings. */
function keptParts(): Map<string, string> {
  const parts = readFileSync(PAGE, 'utf8').split(/^(?=## )/m);
  return new Map(
    parts.slice(1).map((part) => {
      const end = part.indexOf('\n') + 1;
      return [part.slice(0, end), part.slice(end).trim()];
    }),
  );
}
