import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { debianPackage } from './debian.js';
import { obtained, type Skippable } from './require.js';

export interface PromtoolResult {
  ok: boolean;
  output: string;
}

/** Debian's promtool, such as `check rules FILE`. */
export async function promtool(args: string[], input = ''): Promise<PromtoolResult> {
  const folder = await debianPackage('trixie', 'promtool');
  const child = spawn(join(folder, 'usr/bin/promtool'), args);
  child.stdin.end(input);
  const [stdout, stderr, [status]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'exit') as Promise<[number | null]>,
  ]);
  return { ok: status === 0, output: stdout + stderr };
}

/** Null if the test was skipped, since there is no way to get it. */
export async function needPromtool(t: Skippable): Promise<typeof promtool | null> {
  return (await obtained(t, debianPackage('trixie', 'promtool'))) === null ? null : promtool;
}

/**
 * `check metrics` reads the older text format alone: there a counter's family is called as its
 * samples are, and there are no exemplars.
 */
export async function checkMetrics(openMetrics: string): Promise<PromtoolResult> {
  const converted = openMetrics
    .replace(/^# TYPE (\S+) counter$/gm, '# TYPE $1_total counter')
    .replace(/^# HELP (\S+) (.*)\n# TYPE \1_total/gm, '# HELP $1_total $2\n# TYPE $1_total')
    .replace(/ # \{trace_id="[^"]*",span_id="[^"]*"\} \S+ \S+$/gm, '')
    .replace(/# EOF\n$/, '');
  return promtool(['check', 'metrics'], converted);
}
