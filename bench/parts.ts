/** What each part of the answer to "why" takes from a service, and all of them within the budget. */
import { type Found, measured } from './reach.js';
import { BUDGET } from './tools/options.js';
import { type Spread, spread } from './tools/rounds.js';
import { own, Service } from './tools/service.js';
import { range, twoDigits } from './tools/text.js';

const ROUNDS = 5;
/** Of what one CPU can do: no part saturates it. */
const LOAD = 0.25;

const ALL = ['--waits', '--gc', '--allocations'];
const PARTS: Record<string, string[]> = {
  'durations and spans alone': [],
  'what calls wait for, `--waits`': ['--waits'],
  'pauses of the garbage collector, `--gc`': ['--gc'],
  'what calls allocate, `--allocations`': ['--allocations'],
  'all of it': ALL,
};

export interface PartCost {
  what: string;
  /** % of a CPU more than untraced. */
  tax: Spread;
  p99: Spread;
}

export async function measureParts(): Promise<{ parts: PartCost[]; found: Found }> {
  const service = await Service.start();
  try {
    const capacity = await service.capacity();
    return { parts: await each(service, LOAD * capacity), found: await within(service, capacity) };
  } finally {
    await service.stop();
  }
}

/** Without a limit, so that nothing is left out. */
async function each(service: Service, rate: number): Promise<PartCost[]> {
  const samples = new Map<string, { taxes: number[]; ratios: number[] }>();
  for (let round = 0; round < ROUNDS; round++) {
    const untraced = await service.measure(rate, null);
    for (const [what, args] of Object.entries(PARTS)) {
      const traced = await service.measure(rate, own(service, [BUDGET, '100%', ...args]));
      const known = samples.get(what) ?? { taxes: [], ratios: [] };
      samples.set(what, known);
      known.taxes.push((traced.cpus - untraced.cpus) * 100);
      known.ratios.push(traced.p99Ms / untraced.p99Ms);
    }
  }
  return [...samples].map(([what, { taxes, ratios }]) => ({
    what,
    tax: spread(taxes),
    p99: spread(ratios),
  }));
}

/** All of it at half load, with the default budget. */
async function within(service: Service, capacity: number): Promise<Found> {
  const attach = own(service, [BUDGET, '5%', ...ALL]);
  const { tax, p99 } = await service.compare(capacity / 2, attach);
  return {
    partsTax: measured(
      'partsTax',
      tax.median,
      range(tax, (value) => value.toFixed(1), ' %'),
    ),
    partsLatency: measured('partsLatency', p99.median, range(p99, twoDigits)),
  };
}

export const partsTable = (
  parts: readonly PartCost[],
): string => `| what | % of a CPU | p99 latency against untraced |
|---|---|---|
${parts
  .map(
    ({ what, tax, p99 }) =>
      `| ${what} | ${range(tax, (value) => value.toFixed(1))} | ${range(p99, twoDigits)} |`,
  )
  .join('\n')}
`;
