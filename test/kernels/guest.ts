/**
 * Runs on the test machine: what this kernel has, whether the programs load in each way that it
 * allows, and whether the calls of a small program come out as the program itself counts them.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { loadNative } from '../../src/native/load.js';
import type { Features } from '../../src/native/native.js';
import { loadOnce, wayName, ways } from './loads.js';
import { RESULT, type Report } from './report.js';

const CLI = fileURLToPath(new URL('../../cli/main.js', import.meta.url));
const PROGRAM = ['/tiny', '/tmp/counts.json', '300'] as const;

interface SpanLine {
  type: 'span';
  name: string;
  traceId: string;
  spanId: string;
  parentSpanId: string | null;
}

interface SummaryLine {
  type: 'summary';
  functions: { name: string; calls: number; spans: number }[];
  lost: Record<string, number>;
}

type Line = SpanLine | SummaryLine | { type: 'notice' };

const say = (text: string): void => void process.stderr.write(`${text}\n`);
const sum = (numbers: number[]): number => numbers.reduce((a, b) => a + b, 0);

/** Every call that the program counted is in the summary; each is a span or a counted loss. */
function checkCalls(counted: Record<string, number>, lines: Line[]): string {
  const spans = lines.filter((line) => line.type === 'span');
  const summary = lines.find((line) => line.type === 'summary');
  assert(summary, 'no summary');
  const calls = Object.fromEntries(summary.functions.map(({ name, calls }) => [name, calls]));
  assert.deepEqual(calls, counted, 'calls, as seen and as the program counts them');
  const all = sum(Object.values(counted));
  const lost = sum(Object.values(summary.lost));
  assert.equal(spans.length + lost, all, `spans + lost = calls; ${JSON.stringify(summary.lost)}`);
  assert.equal(lost, 0, `nothing is lost here; ${JSON.stringify(summary.lost)}`);
  checkTrees(spans);
  return `${all} calls, ${spans.length} spans, ${lost} lost`;
}

/** step and the outermost descend lie in work, the other descends in descend, work in nothing. */
function checkTrees(spans: SpanLine[]): void {
  const byId = new Map(spans.map((span) => [span.spanId, span]));
  assert.equal(byId.size, spans.length, 'span ids are unique');
  const parents = new Map<string, number>();
  for (const { name, traceId, parentSpanId } of spans) {
    const parent = parentSpanId === null ? null : byId.get(parentSpanId);
    assert(parent !== undefined, `the parent of a ${name} is nobody`);
    assert.equal(parent?.traceId ?? traceId, traceId);
    const pair = `${parent?.name ?? 'root'} > ${name}`;
    parents.set(pair, (parents.get(pair) ?? 0) + 1);
  }
  const works = parents.get('root > main.work') ?? 0;
  assert.deepEqual(Object.fromEntries([...parents].sort()), {
    'main.descend > main.descend': 5 * works,
    'main.grow > main.grow': 36,
    'main.work > main.descend': works,
    'main.work > main.step': 3 * works,
    'root > main.grow': 4,
    'root > main.work': works,
  });
}

function trace(): string {
  const symbols = ['work', 'step', 'descend', 'grow'].flatMap((name) => [
    '--symbol',
    `main.${name}`,
  ]);
  const run = spawnSync(
    process.execPath,
    [CLI, 'attach', '--output', 'json', ...symbols, '--max-rate', '0', '--', ...PROGRAM],
    { encoding: 'utf8', maxBuffer: 1 << 30 },
  );
  say(run.stderr);
  assert.equal(run.status, 0, `trace attach ended with ${run.status ?? run.signal}`);
  const lines = run.stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line);
  const counted = JSON.parse(readFileSync(PROGRAM[1], 'utf8')) as Record<string, number>;
  return checkCalls(counted, lines);
}

async function main(): Promise<Report> {
  let features: Features | null = null;
  try {
    const native = loadNative();
    features = await native.features();
    const loaded: string[] = [];
    for (const way of ways(features)) {
      const started = performance.now();
      await loadOnce(native, features, way);
      loaded.push(wayName(way));
      say(`loaded ${wayName(way)} in ${(performance.now() - started).toFixed(0)} ms`);
    }
    const started = performance.now();
    const traced = trace();
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    return { features, summary: `${loaded.join(', ')}; ${traced} in ${seconds} s`, failure: null };
  } catch (error) {
    return { features, summary: '', failure: (error as Error).message };
  }
}

const report = await main();
console.log(RESULT + JSON.stringify(report));
process.exitCode = report.failure === null ? 0 : 1;
