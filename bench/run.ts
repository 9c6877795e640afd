/**
 * Measures what is published, and writes docs/benchmarks.md.
 *
 *     node dist/bench/run.js [calls | decode | transport]…
 *
 * Sections that are not named stay as they are.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { fileURLToPath } from 'node:url';
import { measureCalls } from './calls.js';
import { measureDecoding } from './decode.js';
import { measureTransports, type Spread } from './transport.js';

const PAGE = fileURLToPath(new URL('../../docs/benchmarks.md', import.meta.url));
const HEAD = '# Benchmarks\n\nWritten by `npm run bench`; each section says when and where.\n';

const number = (value: number): string => Math.round(value).toLocaleString('en');
const machine = `${new Date().toISOString().slice(0, 10)}: Linux ${release()}, ${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown CPU'}, Node ${process.versions.node}.`;

async function calls(): Promise<string> {
  const rows = (await measureCalls()).map(
    ({ what, addedNs, leastNs, mostNs }) =>
      `| ${what} | ${number(addedNs)} (${number(leastNs)} to ${number(mostNs)}) |`,
  );
  return `\`main.tick\` of the sample service, which does nothing but count, called by one goroutine: nanoseconds added to each call, median (least to most) of several rounds, each against an untraced round just before it. The return instruction is single-stepped by the kernel, which is dear on a virtual machine.

| what | ns a call |
|---|---|
${rows.join('\n')}
`;
}

async function transport(): Promise<string> {
  const range = ({ median, least, most }: Spread): string =>
    `${number(median)} (${number(least)} to ${number(most)})`;
  const rows = (await measureTransports()).map(
    ({ producers, transport, silentNs, recordNs, perSecond, lostShare }) =>
      `| ${producers} | ${transport} | ${range(silentNs)} | ${range(recordNs)} | ${number(perSecond)} | ${(lostShare * 100).toFixed(1)} % |`,
  );
  return `\`main.tick\` again, called by several goroutines at once: nanoseconds that the program at its return runs, by the kernel's own count, median (least to most) of several rounds in turn, where the call sends no record and where it does; and the records that arrived. Buffers of 64 MiB.

| goroutines | transport | ns without a record | ns with | records a second | lost |
|---|---|---|---|---|---|
${rows.join('\n')}
`;
}

function decode(): string {
  const rows = measureDecoding().map(({ size, perSecond }) => `| ${size} | ${number(perSecond)} |`);
  return `One core, from a batch of records to span objects with attributes.

| trees of | calls a second |
|---|---|
${rows.join('\n')}
`;
}

const SECTIONS: Record<string, { title: string; measure: () => string | Promise<string> }> = {
  calls: { title: 'What tracing adds to a call', measure: calls },
  transport: { title: 'Ring or perf buffers', measure: transport },
  decode: { title: 'From records to spans', measure: decode },
};

const wanted = process.argv.slice(2);
const unknown = wanted.find((name) => !Object.hasOwn(SECTIONS, name));
if (unknown !== undefined) {
  throw new Error(`no section '${unknown}'; there are ${Object.keys(SECTIONS).join(', ')}`);
}
const before = readFileSync(PAGE, 'utf8').split(/^(?=## )/m);
const text = [HEAD];
for (const [name, { title, measure }] of Object.entries(SECTIONS)) {
  const heading = `## ${title}\n`;
  const kept = before.find((section) => section.startsWith(heading));
  if (wanted.length > 0 && !wanted.includes(name) && kept !== undefined) text.push(kept.trimEnd());
  else text.push(`${heading}\n${machine}\n\n${(await measure()).trimEnd()}`);
}
writeFileSync(PAGE, `${text.map((section) => section.trimEnd()).join('\n\n')}\n`);
process.stdout.write(text.join('\n\n'));
