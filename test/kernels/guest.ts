/**
 * Runs on the test machine: what this kernel has, whether the programs load in each way that it
 * allows, and whether the calls of a small program come out as the program itself counts them.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { loadNative } from '../../src/native/load.js';
import type { Features, Native } from '../../src/native/native.js';
import { hostCosts } from '../../src/plan/host-costs.js';
import { type Transport, TRANSPORTS } from '../../src/session/transport.js';
import { checkKernelAgent, checkKernelList } from './kernel-agent.js';
import { checkKernelCalls } from './kernel-calls.js';
import { checkKernelOfNative, checkKernelValues } from './kernel-native.js';
import { checkKernelTree } from './kernel-tree.js';
import { loadOnce, wayName, ways } from './loads.js';
import { RESULT, type Report } from './report.js';
import { checkReturns } from './returns.js';
import { checkWaits } from './waits.js';

const CLI = fileURLToPath(new URL('../../cli/main.js', import.meta.url));
const TRUTH = '/tmp/truth.json';
/** Under emulation every call would be over the budget. */
const ANY_COST = ['--max-overhead', '100%'];
const EVERY_SPAN = ['--fold', '0'];
const FEW_ROUNDS = 300;
/** Enough, with what writing a span for every call costs, that programs are preempted halfway. */
const MANY_ROUNDS = 2000;
/** Of one run of the tracer; less than that of the machine. */
const TIME_LIMIT_MS = 400_000;

/** What the program says of itself; spans are trace ids by span id. */
interface Truth {
  calls: Record<string, number>;
  rounds: Record<string, string>;
  growths: Record<string, string>;
}

interface SpanLine {
  type: 'span';
  name: string;
  traceId: string;
  spanId: string;
  parentSpanId: string | null;
}

interface SummaryLine {
  type: 'summary';
  functions: { name: string; calls: number; spans: number; errors: number }[];
  lost: Record<string, number>;
}

const say = (text: string): void => void process.stderr.write(`${text}\n`);
const sum = (numbers: number[]): number => numbers.reduce((a, b) => a + b, 0);

interface Trace {
  truth: Truth;
  spans: string[];
  summary: SummaryLine;
}

/** What the command line writes. */
function run(command: readonly string[]): string {
  const ran = spawnSync(process.execPath, [CLI, ...command], {
    encoding: 'utf8',
    maxBuffer: 1 << 29,
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: TIME_LIMIT_MS,
  });
  // What hangs, and where, goes to the console.
  if (ran.error) writeFileSync('/proc/sysrq-trigger', 'w');
  assert.ifError(ran.error);
  assert.equal(ran.status, 0, `trace attach ended with ${ran.status ?? ran.signal}`);
  return ran.stdout;
}

/** The program under the tracer, as a user would do it. */
function trace(rounds: number, transport: Transport): Trace {
  const symbols = ['work', 'step', 'descend', 'grow'].flatMap((name) => [
    '--symbol',
    `main.${name}`,
  ]);
  const options = [
    '--output',
    'json',
    ...ANY_COST,
    ...EVERY_SPAN,
    '--transport',
    transport,
    ...symbols,
  ];
  const command = ['attach', ...options, '--', '/tiny', TRUTH, String(rounds)];
  const lines = run(command).split('\n');
  const summary = lines.find((line) => line.startsWith('{"type":"summary"'));
  assert(summary !== undefined, 'no summary');
  return {
    truth: JSON.parse(readFileSync(TRUTH, 'utf8')) as Truth,
    spans: lines.filter((line) => line.startsWith('{"type":"span"')),
    summary: JSON.parse(summary) as SummaryLine,
  };
}

/** Every call that the program counted is in the summary; each is a span or a counted loss. */
function checkCalls({ truth, spans, summary }: Trace): { calls: number; lost: number } {
  const calls = Object.fromEntries(summary.functions.map(({ name, calls }) => [name, calls]));
  assert.deepEqual(calls, truth.calls, 'calls, as seen and as the program counts them');
  const all = sum(Object.values(truth.calls));
  const lost = sum(Object.values(summary.lost));
  assert.equal(spans.length + lost, all, `spans + lost = calls; ${JSON.stringify(summary.lost)}`);
  return { calls: all, lost };
}

/** Every call's parent is the one that the program's text gives it. */
function checkParents(truth: Truth, spans: SpanLine[]): void {
  const parents = new Map<string, { name: string; traceId: string }>();
  const add = (name: string, ids: Record<string, string>): void => {
    for (const [spanId, traceId] of Object.entries(ids)) parents.set(spanId, { name, traceId });
  };
  add('round', truth.rounds);
  add('growth', truth.growths);
  for (const span of spans) parents.set(span.spanId, span);
  const rounds = Object.keys(truth.rounds).length;
  const growths = Object.keys(truth.growths).length;
  assert.equal(parents.size, spans.length + rounds + growths, 'span ids are unique');

  const pairs: Record<string, number> = {};
  const children = new Map<string, number>();
  for (const { name, traceId, parentSpanId } of spans) {
    const parent = parentSpanId === null ? null : parents.get(parentSpanId);
    assert(parent !== undefined, `the parent of a call of ${name} is nobody`);
    if (parent !== null) {
      assert.equal(traceId, parent.traceId, `${name} is in the trace of its parent`);
      const key = `${parentSpanId} ${name}`;
      children.set(key, (children.get(key) ?? 0) + 1);
    }
    const pair = `${name} in ${parent?.name ?? 'nothing'}`;
    pairs[pair] = (pairs[pair] ?? 0) + 1;
  }
  assert.deepEqual(pairs, {
    'main.descend in main.descend': 5 * rounds,
    'main.descend in main.work': rounds,
    'main.grow in growth': growths,
    'main.grow in main.grow': 9 * growths,
    'main.step in main.work': 3 * rounds,
    'main.work in round': rounds,
  });
  for (const [key, count] of children) {
    assert.equal(count, key.endsWith('main.step') ? 3 : 1, `calls in one parent: ${key}`);
  }
}

function checkFew(transport: Transport): string {
  const traced = trace(FEW_ROUNDS, transport);
  const { calls, lost } = checkCalls(traced);
  assert.equal(lost, 0, `nothing is lost here; ${JSON.stringify(traced.summary.lost)}`);
  checkParents(
    traced.truth,
    traced.spans.map((line) => JSON.parse(line) as SpanLine),
  );
  return `${calls} calls placed by ${transport}`;
}

function checkMany(): string {
  const { calls, lost } = checkCalls(trace(MANY_ROUNDS, 'ring'));
  return `${calls} calls counted, ${lost} of them lost`;
}

/** Functions of test/targets/native/ends.cc, and what the program says of them: calls, unwound. */
const ENDS = {
  plain: ['leaf', 'catcher', 'landing', 'coroutine', 'step', 'handler', 'child', 'recurse', 'tail'],
  unwound: ['thrower', 'middle', 'jumper'],
};
const ENDS_ROUNDS = 24;

/** C++: exceptions, longjmp, coroutines, signals, forked children. */
function checkNative(): string {
  const names = [...ENDS.plain, ...ENDS.unwound];
  const symbols = names.flatMap((name) => ['--symbol', name]);
  const options = ['--output', 'json', ...ANY_COST, ...EVERY_SPAN, ...symbols];
  const command = ['attach', ...options, '--', '/ends', String(ENDS_ROUNDS)];
  const lines = run(command).split('\n');
  const own = lines.find((line) => line.startsWith('{"leaf"'));
  const summary = lines.find((line) => line.startsWith('{"type":"summary"'));
  assert(own !== undefined && summary !== undefined, 'no counts, or no summary');
  const truth = JSON.parse(own) as Record<string, [calls: number, unwound: number]>;
  const { functions, lost } = JSON.parse(summary) as SummaryLine;
  const seen = Object.fromEntries(
    functions.map(({ name, calls, spans, errors }) => [name, { calls, spans, errors }]),
  );
  const expected = Object.fromEntries(
    names.map((name) => {
      const [calls, errors] = truth[name] ?? [];
      return [name, { calls, spans: calls, errors }];
    }),
  );
  assert.deepEqual(seen, expected, `native calls; ${JSON.stringify(lost)}`);
  return `${sum(functions.map(({ calls }) => calls))} native calls`;
}

/** Functions of the kernel, in each way that it allows. */
async function checkKernel(native: Native, features: Features): Promise<string> {
  const parts = [await checkKernelList(), await checkKernelTree(), await checkKernelValues()];
  parts.push(await checkKernelAgent());
  if (features.uprobeSession) parts.push(await checkKernelOfNative());
  parts.forEach(say);
  parts.push(await checkKernelCalls(native, features));
  return parts.join('; ');
}

/** What a hit costs, which is not what it would be without emulation; but what is dearer is. */
async function checkCosts(native: Native, features: Features): Promise<string> {
  const costs = await hostCosts(native, features);
  const { source, emulatedNs, singleSteppedNs, carriedOutNs, trampolineNs } = costs;
  assert.equal(source, 'measured', 'costs of the host');
  assert(emulatedNs < singleSteppedNs, `costs in order: ${JSON.stringify(costs)}`);
  assert.equal(carriedOutNs !== null, features.writesRegisters, 'the cost of a ret carried out');
  assert((carriedOutNs ?? 0) < singleSteppedNs, `costs in order: ${JSON.stringify(costs)}`);
  const [once, stepped, both] = [emulatedNs, singleSteppedNs, trampolineNs].map(Math.round);
  const carried = carriedOutNs === null ? '' : `, carried out ${Math.round(carriedOutNs)}`;
  return `ns a hit: emulated ${once}, single-stepped ${stepped}, both ends ${both}${carried}`;
}

/** The programs, in each way that the kernel allows. */
async function checkLoads(native: Native, features: Features): Promise<string> {
  const loaded: string[] = [];
  for (const way of ways(features)) {
    const started = performance.now();
    await loadOnce(native, features, way);
    loaded.push(wayName(way));
    say(`loaded ${wayName(way)} in ${(performance.now() - started).toFixed(0)} ms`);
  }
  return loaded.join(', ');
}

async function main(): Promise<Report> {
  let features: Features | null = null;
  try {
    const native = loadNative();
    features = await native.features();
    if (process.env['ONLY'] === 'waits') {
      const parts = [await checkLoads(native, features), await checkWaits()];
      return { features, summary: parts.join('; '), failure: null };
    }
    const costs = await checkCosts(native, features);
    say(costs);
    if (process.env['ONLY'] === 'costs') return { features, summary: costs, failure: null };
    if (process.env['ONLY'] === 'kernel') {
      return { features, summary: await checkKernel(native, features), failure: null };
    }
    const loaded = await checkLoads(native, features);
    const few = TRANSPORTS.map(checkFew);
    const parts = [loaded, ...few, checkMany(), checkNative()];
    parts.push(await checkWaits());
    parts.push(await checkKernel(native, features));
    if (features.writesRegisters) parts.push(await checkReturns(native, say));
    return { features, summary: parts.join('; '), failure: null };
  } catch (error) {
    return { features, summary: '', failure: (error as Error).message };
  }
}

const report = await main();
console.log(RESULT + JSON.stringify(report));
process.exitCode = report.failure === null ? 0 : 1;
