/** What a traced call costs the traced program: the shop's own time for many calls, with and without. */
import { loadNative } from '../src/native/load.js';
import { startTrace, type TraceOptions } from '../src/engine.js';
import { traceOptions } from '../test/tools/options.js';
import { Shop } from '../test/tools/shop.js';

const CALLS = 200_000;
const ROUNDS = 7;

export interface CallCost {
  what: string;
  /** Nanoseconds that tracing adds to a call of main.tick; median of the rounds. */
  addedNs: number;
  leastNs: number;
  mostNs: number;
}

const WAYS: { what: string; options: Partial<TraceOptions> }[] = [
  { what: 'entry only', options: { entryOnly: true } },
  { what: 'statistics, no spans', options: { minDurationNs: 1e12 } },
  { what: 'a span per call', options: { ringBytes: 1 << 26 } },
];

async function burn(shop: Shop): Promise<number> {
  const begin = process.hrtime.bigint();
  const response = await fetch(`${shop.url}/burn?calls=${CALLS}&goroutines=1`);
  if (!response.ok) throw new Error(`burn: ${response.status}`);
  return Number(process.hrtime.bigint() - begin) / CALLS;
}

/** The ways in turn, round by round, so that a machine that changes its speed is the same for all. */
export async function measureCalls(): Promise<CallCost[]> {
  const native = loadNative();
  const shop = await Shop.start();
  const added = WAYS.map((): number[] => []);
  try {
    for (let round = 0; round < ROUNDS; round++) {
      for (const [index, { options }] of WAYS.entries()) {
        const untraced = await burn(shop);
        const trace = await startTrace(native, traceOptions(shop.pid, 'main.tick', options));
        const traced = await burn(shop);
        await trace.stop();
        added[index]?.push(traced - untraced);
      }
    }
  } finally {
    await shop.stop();
  }
  return WAYS.map(({ what }, index) => {
    const sorted = (added[index] ?? []).sort((a, b) => a - b);
    return {
      what,
      addedNs: sorted[sorted.length >> 1] ?? NaN,
      leastNs: sorted[0] ?? NaN,
      mostNs: sorted.at(-1) ?? NaN,
    };
  });
}
