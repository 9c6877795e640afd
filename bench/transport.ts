/** What it costs the traced threads to hand over a record, and how many arrive. */
import { startTrace, type TraceOptions } from '../src/engine.js';
import { loadNative } from '../src/native/load.js';
import type { Native, Programs } from '../src/native/native.js';
import { type Transport, TRANSPORTS } from '../src/session/transport.js';
import { traceOptions } from '../test/tools/options.js';
import { Shop } from '../test/tools/shop.js';
import { type Spread, spread } from './tools/rounds.js';

const CALLS = 50_000;
const ROUNDS = 5;
/** Goroutines, each on a thread of its own as far as there are CPUs. */
const PRODUCERS = [1, 2, 4];
const RING_BYTES = 1 << 26;

export interface TransportCost {
  producers: number;
  transport: Transport;
  /** Nanoseconds in the program at the return; median of the rounds, and their least and most. */
  silentNs: Spread;
  recordNs: Spread;
  /** Records that arrived, a second; median. */
  perSecond: number;
  lostShare: number;
}

interface Burnt {
  leaveNs: number;
  perSecond: number;
  spans: number;
}

/** By the kernel's own clock for programs: what the probe itself costs would hide it. */
function leaveNs(loaded: readonly Programs[]): number {
  const times = loaded.flatMap((programs) => programs.runTimes());
  const leave = times.filter(({ program, runCount }) => program === 'leave' && runCount > 0);
  const runs = leave.reduce((sum, { runCount }) => sum + runCount, 0);
  return leave.reduce((sum, { runTimeNs }) => sum + runTimeNs, 0) / runs;
}

async function burn(
  shop: Shop,
  goroutines: number,
  options: Partial<TraceOptions>,
): Promise<Burnt> {
  const native = loadNative();
  const loaded: Programs[] = [];
  const load: Native['load'] = async (each) => {
    const programs = await native.load(each);
    loaded.push(programs);
    return programs;
  };
  const watched = Object.assign(Object.create(native) as Native, { load });
  const trace = await startTrace(watched, traceOptions(shop.pid, 'main.tick', options));
  const begin = process.hrtime.bigint();
  const response = await fetch(`${shop.url}/burn?calls=${CALLS}&goroutines=${goroutines}`);
  if (!response.ok) throw new Error(`burn: ${response.status}`);
  const ns = Number(process.hrtime.bigint() - begin);
  const spent = leaveNs(loaded);
  const { functions } = await trace.stop();
  const spans = functions[0]?.spans ?? 0;
  return { leaveNs: spent, perSecond: (spans / ns) * 1e9, spans };
}

/** In turn, so that a machine that changes its speed is the same for all. */
async function measure(shop: Shop, producers: number): Promise<TransportCost[]> {
  const found = TRANSPORTS.map((transport) => ({
    transport,
    silent: [] as Burnt[],
    recorded: [] as Burnt[],
  }));
  for (let round = 0; round < ROUNDS; round++) {
    for (const { transport, silent, recorded } of found) {
      const options = { transport, ringBytes: RING_BYTES };
      silent.push(await burn(shop, producers, { ...options, minDurationNs: 1e12 }));
      recorded.push(await burn(shop, producers, options));
    }
  }
  return found.map(({ transport, silent, recorded }) => ({
    producers,
    transport,
    silentNs: spread(silent.map(({ leaveNs }) => leaveNs)),
    recordNs: spread(recorded.map(({ leaveNs }) => leaveNs)),
    perSecond: spread(recorded.map(({ perSecond }) => perSecond)).median,
    lostShare: 1 - recorded.reduce((sum, { spans }) => sum + spans, 0) / (ROUNDS * CALLS),
  }));
}

export async function measureTransports(): Promise<TransportCost[]> {
  const shop = await Shop.start();
  try {
    const costs: TransportCost[] = [];
    for (const producers of PRODUCERS) costs.push(...(await measure(shop, producers)));
    return costs;
  } finally {
    await shop.stop();
  }
}
