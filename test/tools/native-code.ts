import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import type { Module } from '../../src/native/native.js';
import { type FunctionRanges, rangesOf, readCode } from '../../src/plan/native-code.js';
import { nativeEntry, nativeReturns } from '../../src/plan/native-sites.js';
import type { FunctionCode } from '../../src/plan/sites.js';
import { type Row, rows } from './modules.js';

const execute = promisify(execFile);
export const SOURCES = join(import.meta.dirname, '../../../test/targets/native-code');

/** All functions of a file, each address once. */
export async function codeOfAll(module: Module): Promise<[Row, FunctionCode][]> {
  const table = await module.functions();
  const ranges = rangesOf(table);
  const seen = new Set<number>();
  const bodies = rows(table).flatMap((row, index): [Row, FunctionRanges][] => {
    if (row.size === 0 || seen.has(row.address)) return [];
    seen.add(row.address);
    return [[row, ranges(index)]];
  });
  const code = await readCode(
    module,
    bodies.map(([, body]) => body),
  );
  return bodies.map(([row], i) => [row, code[i] as FunctionCode]);
}

export interface Shares {
  functions: number;
  full: number;
  /** By reason. */
  entryOnly: Map<string, number>;
  refused: Map<string, number>;
  /** Entries that the kernel emulates. */
  emulated: number;
}

export function sharesOf(code: readonly FunctionCode[]): Shares {
  const shares: Shares = {
    functions: code.length,
    full: 0,
    entryOnly: new Map(),
    refused: new Map(),
    emulated: 0,
  };
  const count = (map: Map<string, number>, why: string): void => {
    map.set(why, (map.get(why) ?? 0) + 1);
  };
  for (const body of code) {
    const entry = nativeEntry(body);
    const returns = nativeReturns(body);
    if ('sites' in entry && entry.sites.emulated) shares.emulated++;
    if ('reason' in entry) count(shares.refused, entry.reason);
    else if ('reason' in returns) count(shares.refused, returns.reason);
    else if ('entryOnly' in returns) count(shares.entryOnly, returns.entryOnly);
    else shares.full++;
  }
  return shares;
}

export function sharesText({ functions, full, entryOnly, refused, emulated }: Shares): string {
  const percent = (n: number): string => `${((100 * n) / functions).toFixed(2)} %`;
  const list = (map: Map<string, number>): string =>
    [...map].map(([why, n]) => `${why}: ${percent(n)}`).join(', ') || 'none';
  return [
    `${String(functions)} functions, with all returns ${percent(full)}, cheap entry ${percent(emulated)}`,
    `  by entry alone: ${list(entryOnly)}`,
    `  not at all: ${list(refused)}`,
  ].join('\n');
}

/** The plan as test/targets/native-code/stepper.c reads it. */
export async function stepperPlan(file: string, code: readonly FunctionCode[]): Promise<string> {
  const start = Number((await readFile(file)).readBigUInt64LE(24));
  const hex = (n: number): string => n.toString(16);
  const lines = [`start ${hex(start)}`];
  for (const body of code) {
    const entry = nativeEntry(body);
    const returns = nativeReturns(body);
    const planned = 'sites' in entry ? entry.sites : { address: 0, stackAdjustment: 0 };
    const exits = 'sites' in returns && planned.address !== 0 ? returns.sites : [];
    const entryOnly = 'sites' in returns ? '0' : '1';
    lines.push(`function ${hex(planned.address)} ${hex(planned.stackAdjustment)} ${entryOnly}`);
    for (const { address, size } of [body, ...(body.parts ?? [])]) {
      lines.push(`range ${hex(address)} ${hex(address + size)}`);
    }
    for (const { address, condition } of exits)
      lines.push(`exit ${hex(address)} ${hex(condition)}`);
  }
  return `${lines.join('\n')}\n`;
}

export interface Build {
  name: string;
  compiler: string;
  source: string;
  options: string[];
}

export async function compile(
  { name, compiler, source, options }: Build,
  folder: string,
): Promise<string> {
  const own = join(folder, name.replaceAll(/\W+/g, '_'));
  await mkdir(own, { recursive: true });
  const file = join(own, 'program');
  await execute(compiler, [...options, '-o', file, join(SOURCES, source)], { cwd: own });
  return file;
}

export interface Steps {
  calls: number;
  ends: number;
  unwound: number;
  complaints: string[];
}

/** Runs a program under the stepper from its main function on. */
export async function step(
  stepper: string,
  file: string,
  main: number,
  planned: string,
): Promise<Steps> {
  const plan = `${file}.plan`;
  await writeFile(plan, planned);
  const { stdout } = await execute(stepper, [plan, main.toString(16), file], {
    cwd: dirname(file),
    timeout: 300_000,
  }).catch((error: unknown) => error as { stdout: string });
  const lines = stdout.trimEnd().split('\n');
  const [, calls, ends, unwound] =
    /^calls (\d+) ends (\d+) unwound (\d+)/.exec(lines.pop() ?? '') ?? [];
  return {
    calls: Number(calls),
    ends: Number(ends),
    unwound: Number(unwound),
    complaints: lines,
  };
}
