#!/usr/bin/env node
// Writes src/spans/records.generated.ts from the BTF of a compiled object, so that bpf/records.h
// stays the only description of what crosses from the kernel. --check fails if the file is stale.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const output = `${root}src/spans/records.generated.ts`;
const object = `${root}build/bpf/layout.bpf.o`;

const btf = JSON.parse(
  execFileSync('bpftool', ['-j', 'btf', 'dump', 'file', object], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  }),
);
const byId = new Map(btf.types.map((type) => [type.id, type]));

/** Follows typedefs and qualifiers to the type that has a size. */
function resolve(id) {
  let type = byId.get(id);
  while (type && ['TYPEDEF', 'CONST', 'VOLATILE'].includes(type.kind))
    type = byId.get(type.type_id);
  return type;
}

const camel = (name) => name.replace(/_([a-z0-9])/g, (_, letter) => letter.toUpperCase());
const pascal = (name) => camel(name).replace(/^./, (letter) => letter.toUpperCase());

/** The longest prefix, up to and with an underscore, that all names share. */
function commonPrefix(names) {
  let prefix = names[0];
  for (const name of names) while (!name.startsWith(prefix)) prefix = prefix.slice(0, -1);
  return prefix.slice(0, prefix.lastIndexOf('_') + 1);
}

const header = readFileSync(`${root}bpf/records.h`, 'utf8');
const defined = (kind) =>
  [...header.matchAll(new RegExp(`^${kind} (\\w+) \\{`, 'gm'))].map((match) => match[1]);

const lines = ['// Generated from bpf/records.h by scripts/generate-records.mjs. Do not edit.', ''];
for (const [, name, value] of header.matchAll(
  /^#define ((?:MAX|NO|HISTOGRAM|HTTP|GOVERNED|COOKIE)_\w+) (\d+)/gm,
)) {
  lines.push(`export const ${name} = ${value};`);
}
lines.push('');
for (const name of defined('enum')) {
  const type = btf.types.find((candidate) => candidate.kind === 'ENUM' && candidate.name === name);
  if (!type)
    throw new Error(`enum ${name} is not in the BTF of ${object}; name it in bpf/layout.bpf.c`);
  const values = type.values.map((value) => value.name);
  const prefix = commonPrefix(values);
  lines.push(`export const ${pascal(name)} = {`);
  for (const value of type.values) {
    lines.push(`  ${value.name.slice(prefix.length)}: ${value.val},`);
  }
  lines.push('} as const;', '');
}
for (const name of defined('struct')) {
  const type = btf.types.find(
    (candidate) => candidate.kind === 'STRUCT' && candidate.name === name,
  );
  if (!type)
    throw new Error(`struct ${name} is not in the BTF of ${object}; name it in bpf/layout.bpf.c`);
  lines.push(
    `/** Byte offsets in struct ${name}. */`,
    `export const ${camel(name)} = {`,
    `  size: ${type.size},`,
  );
  for (const member of type.members) {
    if (/^pad\d*$/.test(member.name)) continue;
    // A record's own header has the field "size" too; it is read by its place in record_header.
    const field = member.name === 'size' ? 'sizeField' : camel(member.name);
    lines.push(`  ${field}: ${member.bits_offset / 8},`);
    const element = resolve(member.type_id);
    if (element?.kind === 'ARRAY') lines.push(`  ${field}Length: ${element.nr_elems},`);
  }
  lines.push('} as const;', '');
}
const text = `${lines.join('\n').trimEnd()}\n`;
if (process.argv.includes('--check')) {
  if (readFileSync(output, 'utf8') !== text) {
    console.error('src/spans/records.generated.ts is stale: run node scripts/generate-records.mjs');
    process.exit(1);
  }
} else {
  let old = '';
  try {
    old = readFileSync(output, 'utf8');
  } catch {
    // First run.
  }
  if (old !== text) writeFileSync(output, text);
}
