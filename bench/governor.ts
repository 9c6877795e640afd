/** What the governor does for a program whose functions are called a million times a second. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { startTrace } from '../src/engine.js';
import { loadNative } from '../src/native/load.js';
import { buildTarget } from '../test/tools/go.js';
import { traceOptions } from '../test/tools/options.js';
import { Tracer } from '../test/tools/tracer.js';
import { type Found, measured, notMeasured } from './reach.js';
import { Asked } from './tools/asked.js';
import { BUDGET, hasOption, NO_BUDGET } from './tools/options.js';
import { spread } from './tools/rounds.js';
import { range, twoDigits, whole } from './tools/text.js';

const ROUNDS = 3;
const BEFORE_MS = 3_000;
const TRACED_MS = 12_000;
const SHARE = 0.05;
/** Of the budget, what calls of another function cost. */
const OTHERS = 0.85;
/** Of what it did before, at which it is as it was. */
const RELIEVED = 0.9;
const BIN_MS = 10;
/** So long it must stay that way. */
const STAYS_BINS = 50;

interface Round {
  reliefMs: number;
  worstSecond: number;
  bought: number;
}

export async function measureGovernor(): Promise<Found> {
  if (!(await hasOption(BUDGET))) {
    const why = notMeasured(NO_BUDGET);
    return { relief: why, worstSecond: why, bought: why };
  }
  const binary = await buildTarget('cost');
  const callNs = await costOfCall(binary);
  const rounds: Round[] = [];
  for (let round = 0; round < ROUNDS; round++) rounds.push(await measureRound(binary, callNs));
  const relief = spread(rounds.map(({ reliefMs }) => reliefMs));
  const worst = spread(rounds.map(({ worstSecond }) => worstSecond));
  const bought = spread(rounds.map((each) => each.bought * 100));
  return {
    relief: measured('relief', relief.median, range(relief, whole, ' ms')),
    worstSecond: measured('worstSecond', worst.median, range(worst, twoDigits)),
    bought: measured('bought', bought.median, range(bought, whole, ' %')),
  };
}

/** Nanoseconds that a counted call costs here and now. */
async function costOfCall(binary: string): Promise<number> {
  const target = await Asked.start(binary, ['calls']);
  await target.line();
  const untraced = await target.number('framed 20000');
  const options = traceOptions(target.pid, 'main.framed', { minDurationNs: 1e12 });
  const trace = await startTrace(loadNative(), options);
  const traced = await target.number('framed 20000');
  await trace.stop();
  await target.stop();
  return traced - untraced;
}

async function measureRound(binary: string, callNs: number): Promise<Round> {
  const others = ((SHARE * OTHERS * 1e9) / callNs).toFixed(0);
  const child = spawn(binary, ['hot', '1000000', others], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child, 'spawn');
  /** Calls of each stretch of 10 ms. */
  const bins: number[] = [];
  createInterface({ input: child.stdout }).on('line', (line) =>
    bins.push(Number(line.split(' ')[1])),
  );
  const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
  try {
    await wait(BEFORE_MS);
    const usual = spread(bins).median;
    const from = bins.length;
    const args = ['--pid', String(child.pid), BUDGET, `${SHARE * 100}%`, '--min-duration', '10s'];
    const tracer = await Tracer.attach([...args, 'main.*']);
    const attached = performance.now();
    await wait(TRACED_MS);
    const until = bins.length;
    const seconds = (performance.now() - attached) / 1_000;
    await tracer.stop();
    const counted = tracer.result.functions.reduce((sum, { calls }) => sum + calls, 0);
    const traced = bins.slice(from, until);
    return {
      reliefMs: reliefMs(traced, usual),
      worstSecond: worstSecond(traced, usual),
      bought: counted / ((SHARE * seconds * 1e9) / callNs),
    };
  } finally {
    child.kill('SIGKILL');
  }
}

/** From the first stretch that was slowed down until it is as it was, and stays so. */
export function reliefMs(bins: readonly number[], usual: number): number {
  const isSlow = (calls: number): boolean => calls < RELIEVED * usual;
  const first = bins.findIndex(isSlow);
  if (first < 0) return 0;
  for (let at = first; at + STAYS_BINS <= bins.length; at++) {
    if (isSlow(bins[at] ?? 0)) continue;
    const slow = bins.slice(at, at + STAYS_BINS).filter(isSlow).length;
    // Now and then somebody else has the CPU.
    if (slow <= STAYS_BINS / 10) return (at - first) * BIN_MS;
  }
  return Infinity;
}

export function worstSecond(bins: readonly number[], usual: number): number {
  const size = 1_000 / BIN_MS;
  let least = Infinity;
  for (let at = 0; at + size <= bins.length; at++) {
    least = Math.min(
      least,
      bins.slice(at, at + size).reduce((sum, each) => sum + each, 0),
    );
  }
  return least / (usual * size);
}
