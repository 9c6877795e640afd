/**
 * Returns that our programs carry out, where a kernel lets them: the program goes on as it would,
 * two tracers and a foreign probe at the same instructions are borne, and what it gives.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import type { Native } from '../../src/native/native.js';
import { ASSUMED_COSTS } from '../../src/plan/host-costs.js';
import { planModule } from '../../src/plan/plan-module.js';
import { parsePattern } from '../../src/symbols/patterns.js';
import { sleep } from '../tools/process.js';
import { type JsonSpan, totalLost, Tracer } from '../tools/tracer.js';

const TRUTH = '/tmp/returns.json';
const TRACING = '/sys/kernel/tracing';
const ROUNDS = 50;
const GOROUTINES = 4;
const FUNCTIONS = ['work', 'step', 'descend', 'grow'].flatMap((name) => [
  '--symbol',
  `main.${name}`,
]);
/** Every call is counted, none becomes a span. */
const COUNT_ONLY = ['--min-duration', '1h'];

interface Truth {
  calls: Record<string, number>;
  worked: number;
  nanoseconds: number;
}

const callsOf = ({ calls }: Truth): number =>
  Object.values(calls).reduce((sum, count) => sum + count, 0);

/** The program, before its first call. */
async function startTiny(program: string): Promise<ChildProcess> {
  const tiny = spawn(program, [TRUTH, String(ROUNDS), '0s', 'wait'], {
    stdio: ['pipe', 'ignore', 'inherit'],
  });
  await once(tiny, 'spawn');
  return tiny;
}

/** Whatever the emulation takes, the machine's own limit ends it. */
async function attach(pid: number | undefined, options: string[]): Promise<Tracer> {
  const tracer = Tracer.start(['--pid', String(pid), ...FUNCTIONS, ...options]);
  while (!tracer.stderr.includes('attached to')) {
    assert.equal(tracer.child.exitCode, null, tracer.stderr);
    await sleep(50);
  }
  return tracer;
}

/** Lets it run to its end under these tracers, one attached after the other. */
async function runUnder(
  program: string,
  options: string[][],
): Promise<{ truth: Truth; tracers: Tracer[] }> {
  const tiny = await startTiny(program);
  const exit = once(tiny, 'exit') as Promise<[number | null, string | null]>;
  const tracers: Tracer[] = [];
  try {
    for (const own of options) tracers.push(await attach(tiny.pid, own));
    tiny.stdin?.end();
    const [status, signal] = await exit;
    assert.equal(status, 0, `${program} ended by ${signal ?? status}`);
  } finally {
    // What is left would keep the test from ending.
    tiny.kill();
    await Promise.all(tracers.map((tracer) => tracer.ended()));
  }
  const truth = JSON.parse(readFileSync(TRUTH, 'utf8')) as Truth;
  checkRun(program, truth, tracers);
  return { truth, tracers };
}

/** The program is right, and so is each tracer. */
function checkRun(program: string, truth: Truth, tracers: Tracer[]): void {
  const each = 3 * ROUNDS * (ROUNDS - 1) + 11 * ROUNDS;
  assert.equal(truth.worked, GOROUTINES * each, `what ${program} makes of what its calls return`);
  const all = callsOf(truth);
  for (const { result, spans } of tracers) {
    const calls = Object.fromEntries(result.functions.map(({ name, calls }) => [name, calls]));
    assert.deepEqual(calls, truth.calls, `calls of ${program}`);
    // Both need the call's end, which is what a return that is not paired would lack.
    assert.equal(spans.length + (result.lost['tooShort'] ?? 0), all, JSON.stringify(result.lost));
  }
}

/** What spans say of the registers and the stack at their returns. */
const seen = ({ name, attributes }: JsonSpan): string =>
  [name, attributes['underspan.return.0'], attributes['code.stacktrace']].join(' ');

/** Both see every return as it was, though the later one's program, which runs first, moves ip. */
async function checkTwo(program: string): Promise<void> {
  const carried = ['--return', '--stack', '--ring-size', '32M'];
  const { tracers } = await runUnder(program, [carried, carried]);
  const [first, second] = tracers.map((tracer) => {
    assert.equal(totalLost(tracer.result), 0, JSON.stringify(tracer.result.lost));
    return tracer.spans.map(seen).sort();
  });
  assert.deepEqual(second, first, 'what two tracers see of returns');
  const step = first?.find((text) => text.startsWith('main.step 0 '));
  assert(step?.includes('main.work'), `who called main.step: ${step}`);
}

/** File offsets of the returns of main.step. */
async function returnOffsets(native: Native, program: string): Promise<Map<number, number>> {
  const plan = await planModule(native, program, program, {
    patterns: [parsePattern('main.step')],
    handlers: [],
    excludes: [],
    entryOnly: false,
    trampolines: 'never',
    waits: false,
    gc: false,
    allocations: false,
    values: { args: [], returns: false, errors: null, stack: false, redact: [] },
    costs: ASSUMED_COSTS,
    maxFunctions: 1,
    maxSites: Infinity,
  });
  try {
    const { segments } = plan.module.facts;
    return new Map(
      plan.functions
        .flatMap(({ returns }) => returns)
        .map(({ address, plainReturn }) => {
          assert(plainReturn, 'main.step ends by a ret of one byte');
          const segment = segments.findLast((each) => each.address <= address);
          return [address, address - segment!.address + segment!.offset];
        }),
    );
  } finally {
    plan.module.close();
  }
}

/** Probes of ftrace, in place before ours and so run after them: where the registers then point. */
async function checkForeign(native: Native, program: string): Promise<void> {
  const sites = await returnOffsets(native, program);
  const events = [...sites.values()].map(
    (offset, index) => `p:foreign/ret${index} ${program}:0x${offset.toString(16)} ip=%ip`,
  );
  writeFileSync(`${TRACING}/uprobe_events`, `${events.join('\n')}\n`);
  try {
    for (const emulated of [true, false]) {
      writeFileSync(`${TRACING}/events/foreign/enable`, '1');
      const { truth } = await runUnder(program, [
        emulated ? COUNT_ONLY : [...COUNT_ONLY, '--no-emulated-returns'],
      ]);
      writeFileSync(`${TRACING}/events/foreign/enable`, '0');
      const ips = [...readFileSync(`${TRACING}/trace`, 'utf8').matchAll(/ ip=0x(\w+)/g)];
      writeFileSync(`${TRACING}/trace`, '');
      assert.equal(ips.length, truth.calls['main.step'], 'hits that the foreign probe saw');
      const moved = ips.filter(([, ip]) => !sites.has(parseInt(ip!, 16)));
      assert.equal(moved.length, emulated ? ips.length : 0, 'returns that we carried out');
    }
  } finally {
    writeFileSync(`${TRACING}/uprobe_events`, '');
  }
}

/** Whoever attaches in mid-call leaves its return to the kernel. */
async function checkUnpaired(): Promise<void> {
  const tiny = spawn('/tiny', [TRUTH, '1000000', '1ms'], { stdio: 'ignore' });
  const exit = once(tiny, 'exit');
  try {
    const first = await attach(tiny.pid, COUNT_ONLY);
    const second = await attach(tiny.pid, COUNT_ONLY);
    assert.equal(await first.stop(), 0, first.stderr);
    assert.equal(await second.stop(), 0, second.stderr);
    assert.equal(tiny.exitCode ?? tiny.signalCode, null, 'the program lives on');
  } finally {
    tiny.kill();
    await exit;
  }
}

/** Microseconds a call. */
async function cost(options: string[][]): Promise<string> {
  const { truth } = await runUnder('/tiny', options);
  return (truth.nanoseconds / callsOf(truth) / 1_000).toFixed(1);
}

export async function checkReturns(native: Native, say: (text: string) => void): Promise<string> {
  await checkTwo('/tiny');
  await checkTwo('/tiny-pie');
  say('two tracers saw the same');
  await checkForeign(native, '/tiny');
  say('a foreign probe was borne');
  await checkUnpaired();
  say('unpaired returns were left to the kernel');
  const untraced = await cost([]);
  const emulated = await cost([COUNT_ONLY]);
  const stepped = await cost([[...COUNT_ONLY, '--no-emulated-returns']]);
  return (
    'returns carried out, also with two tracers and a foreign probe; ' +
    `untraced ${untraced}, emulated ${emulated}, single-stepped ${stepped} us a call`
  );
}
