/** Measures what is published, and writes docs/benchmarks.md. */
import { writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { fileURLToPath } from 'node:url';
import { measureCalls } from './calls.js';
import { measureDecoding } from './decode.js';

const number = (value: number): string => Math.round(value).toLocaleString('en');

const decoding = measureDecoding();
const calls = await measureCalls();
const text = `# Benchmarks

Written by \`npm run bench\` on ${new Date().toISOString().slice(0, 10)}: Linux ${release()}, ${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown CPU'}, Node ${process.versions.node}.

## What tracing adds to a call

\`main.tick\` of the sample service, which does nothing but count, called by one goroutine: nanoseconds added to each call, median (least to most) of several rounds, each against an untraced round just before it. The return instruction is single-stepped by the kernel, which is dear on a virtual machine.

| what | ns a call |
|---|---|
${calls.map(({ what, addedNs, leastNs, mostNs }) => `| ${what} | ${number(addedNs)} (${number(leastNs)} to ${number(mostNs)}) |`).join('\n')}

## From records to spans

One core, from a batch of records to span objects with attributes.

| trees of | calls a second |
|---|---|
${decoding.map(({ size, perSecond }) => `| ${size} | ${number(perSecond)} |`).join('\n')}
`;
writeFileSync(fileURLToPath(new URL('../../docs/benchmarks.md', import.meta.url)), text);
process.stdout.write(text);
