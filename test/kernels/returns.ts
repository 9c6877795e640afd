/**
 * Returns that our programs carry out, where a kernel lets them: the program goes on as it would,
 * two tracers and a foreign probe at the same instructions are borne, and what it gives.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import type { Native } from '../../src/native/native.js';
import { planModule } from '../../src/plan/plan-module.js';
import { inMainModule, parsePattern } from '../../src/symbols/patterns.js';
import { type JsonSpan, totalLost, Tracer } from '../tools/tracer.js';

const TRUTH = '/tmp/returns.json';
const TRACING = '/sys/kernel/tracing';
const ROUNDS = 200;
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

/** Lets it run to its end under these tracers, one attached after the other. */
async function runUnder(
  program: string,
  options: string[][],
): Promise<{ truth: Truth; tracers: Tracer[] }> {
  const tiny = await startTiny(program);
  const tracers: Tracer[] = [];
  for (const own of options) {
    tracers.push(await Tracer.attach(['--pid', String(tiny.pid), ...FUNCTIONS, ...own]));
  }
  tiny.stdin?.end();
  const [status, signal] = (await once(tiny, 'exit')) as [number | null, string | null];
  assert.equal(status, 0, `${program} ended by ${signal ?? status}`);
  for (const tracer of tracers) assert.equal(await tracer.ended(), 0, tracer.stderr);
  const truth = JSON.parse(readFileSync(TRUTH, 'utf8')) as Truth;
  const each = 3 * ROUNDS * (ROUNDS - 1) + 11 * ROUNDS;
  assert.equal(
    truth.worked,
    GOROUTINES * each,
    `what ${program} makes of the results of its calls`,
  );
  const all = callsOf(truth);
  for (const { result, spans } of tracers) {
    const calls = Object.fromEntries(result.functions.map(({ name, calls }) => [name, calls]));
    assert.deepEqual(calls, truth.calls, `calls of ${program}`);
    // Both need the call's end, which is what a return that is not paired would lack.
    assert.equal(spans.length + (result.lost['tooShort'] ?? 0), all, JSON.stringify(result.lost));
  }
  return { truth, tracers };
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
    patterns: [inMainModule(parsePattern('main.step'))],
    handlers: [],
    excludes: [],
    entryOnly: false,
    values: { args: [], returns: false, stack: false, redact: [] },
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
  const ended = once(tiny, 'exit');
  const first = await Tracer.attach(['--pid', String(tiny.pid), ...FUNCTIONS, ...COUNT_ONLY]);
  const second = await Tracer.attach(['--pid', String(tiny.pid), ...FUNCTIONS, ...COUNT_ONLY]);
  assert.equal(await first.stop(), 0, first.stderr);
  assert.equal(await second.stop(), 0, second.stderr);
  assert.equal(tiny.exitCode ?? tiny.signalCode, null, 'the program lives on');
  tiny.kill();
  await ended;
}

/** Microseconds a call. */
async function cost(options: string[][]): Promise<string> {
  const { truth } = await runUnder('/tiny', options);
  return (truth.nanoseconds / callsOf(truth) / 1_000).toFixed(1);
}

export async function checkReturns(native: Native): Promise<string> {
  await checkTwo('/tiny');
  await checkTwo('/tiny-pie');
  await checkForeign(native, '/tiny');
  await checkUnpaired();
  const costs = [
    await cost([]),
    await cost([COUNT_ONLY]),
    await cost([[...COUNT_ONLY, '--no-emulated-returns']]),
  ];
  return `returns carried out, with two tracers and a foreign probe; untraced ${costs[0]}, emulated ${costs[1]}, single-stepped ${costs[2]} us a call`;
}
