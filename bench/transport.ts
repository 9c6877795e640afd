/** What it costs the traced threads to hand over a record, and how many arrive. */
import { startTrace, type TraceOptions } from '../src/engine.js';
import { loadNative } from '../src/native/load.js';
import { type Transport, TRANSPORTS } from '../src/session/transport.js';
import { traceOptions } from '../test/tools/options.js';
import { Shop } from '../test/tools/shop.js';

const CALLS = 100_000;
const ROUNDS = 7;
/** Goroutines, each on a thread of its own as far as there are CPUs. */
const PRODUCERS = [1, 2, 4];
const RING_BYTES = 1 << 26;

export interface TransportCost {
  producers: number;
  transport: Transport;
  /** Nanoseconds of a CPU that a record adds to a call that is counted only; median of the rounds. */
  recordNs: number;
  leastNs: number;
  mostNs: number;
  /** Records that arrived, a second; median. */
  perSecond: number;
  lostShare: number;
}

interface Burnt {
  ns: number;
  spans: number;
}

async function burn(
  shop: Shop,
  goroutines: number,
  options: Partial<TraceOptions>,
): Promise<Burnt> {
  const trace = await startTrace(loadNative(), traceOptions(shop.pid, 'main.tick', options));
  const begin = process.hrtime.bigint();
  const response = await fetch(`${shop.url}/burn?calls=${CALLS}&goroutines=${goroutines}`);
  if (!response.ok) throw new Error(`burn: ${response.status}`);
  const ns = Number(process.hrtime.bigint() - begin);
  const { functions } = await trace.stop();
  return { ns, spans: functions[0]?.spans ?? 0 };
}

const median = (numbers: number[]): number =>
  numbers.sort((a, b) => a - b)[numbers.length >> 1] ?? NaN;

/** The transports in turn, each round against calls that send no record. */
async function measure(shop: Shop, producers: number, cpus: number): Promise<TransportCost[]> {
  const found = TRANSPORTS.map(() => ({ added: [] as number[], rates: [] as number[], spans: 0 }));
  for (let round = 0; round < ROUNDS; round++) {
    const silent = await burn(shop, producers, { minDurationNs: 1e12 });
    for (const [index, transport] of TRANSPORTS.entries()) {
      const each = found[index];
      const { ns, spans } = await burn(shop, producers, { transport, ringBytes: RING_BYTES });
      each?.added.push(((ns - silent.ns) * Math.min(producers, cpus)) / CALLS);
      each?.rates.push((spans / ns) * 1e9);
      if (each) each.spans += spans;
    }
  }
  return TRANSPORTS.map((transport, index) => {
    const { added = [], rates = [], spans = 0 } = found[index] ?? {};
    return {
      producers,
      transport,
      recordNs: median(added),
      leastNs: Math.min(...added),
      mostNs: Math.max(...added),
      perSecond: median(rates),
      lostShare: 1 - spans / (ROUNDS * CALLS),
    };
  });
}

export async function measureTransports(cpus: number): Promise<TransportCost[]> {
  const shop = await Shop.start();
  try {
    const costs: TransportCost[] = [];
    for (const producers of PRODUCERS) costs.push(...(await measure(shop, producers, cpus)));
    return costs;
  } finally {
    await shop.stop();
  }
}
