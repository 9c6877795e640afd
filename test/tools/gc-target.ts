/** test/targets/gc, traced from its first instruction; what was seen, and what it has measured. */
import type { Summary } from '../../src/sinks/sink.js';
import type { GoBuild } from './go-builds.js';
import { traceReporting } from './reporting-target.js';
import type { Skippable } from './require.js';
import type { JsonSpan } from './tracer.js';

export interface GcReport {
  allocated: Record<string, number>;
  cycles: number;
  /** Of the last cycles, the latest first. */
  pauseNs: number[];
  pauseTotalNs: number;
  pauses: number;
  /** In ns, those that are not empty. */
  buckets: [from: number, to: number, count: number][];
  nextGC: number;
  /** 0: the runtime does not say. */
  live: number;
  assistSeconds: number;
  memProfile: number;
  /** Bytes by function on the stack; null: the program has no heap profile. */
  profile: Record<string, number> | null;
}

export interface Traced {
  report: GcReport;
  spans: JsonSpan[];
  summary: Summary;
  named: (name: string) => JsonSpan[];
}

/** Plain, and with neither symbols nor DWARF. */
export const BUILDS: readonly (readonly [release: string, build: GoBuild])[] = [
  ...['1.18.10', '1.20.14', '1.21.13', '1.22.10', '1.26.8', '1.27.3'].map(
    (release): [string, GoBuild] => [release, { name: 'default', flags: [] }],
  ),
  ['1.18.10', { name: '-s -w', flags: ['-ldflags=-s -w'] }],
  ['1.26.8', { name: '-s -w', flags: ['-ldflags=-s -w'] }],
];

/** null: it cannot be built here. */
export async function traceGc(
  t: Skippable,
  [release, build]: (typeof BUILDS)[number],
  mode: readonly string[],
  options: readonly string[],
): Promise<Traced | null> {
  const [name = '', count = '', ...rest] = mode;
  const args = (file: string): string[] => [name, count, file, ...rest];
  const traced = await traceReporting<GcReport>(t, 'gc', { release, build }, args, options);
  if (!traced) return null;
  const { report, named } = traced;
  const { spans, result } = traced.tracer;
  return { report, spans, summary: result, named };
}

export const numberOf = (span: JsonSpan, attribute: string): number =>
  Number(span.attributes[attribute] ?? 0);

export const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);
