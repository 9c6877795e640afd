/** What a traced call of a Go function costs: against empty programs at the best sites, and at others'. */
import { planTrace, startTrace } from '../src/engine.js';
import { loadNative } from '../src/native/load.js';
import { buildTarget } from '../test/tools/go.js';
import { traceOptions } from '../test/tools/options.js';
import { type Found, measured } from './reach.js';
import { Asked } from './tools/asked.js';
import { Floor } from './tools/floor.js';
import { difference, inTurn, ratios, type Spread, spread } from './tools/rounds.js';
import { range, twoDigits } from './tools/text.js';

const CALLS = 10_000;
const ROUNDS = 11;
const FUNCTION = 'main.framed';

export interface GoCost {
  what: string;
  addedNs: Spread;
}

export async function measureGoCalls(): Promise<{ costs: GoCost[]; found: Found }> {
  const target = await Asked.start(await buildTarget('cost'), ['calls']);
  await target.line();
  try {
    return await measure(target);
  } finally {
    await target.stop();
  }
}

async function measure(target: Asked): Promise<{ costs: GoCost[]; found: Found }> {
  const native = loadNative();
  const features = await native.features();
  const options = traceOptions(target.pid, FUNCTION, { minDurationNs: 1e12 });
  const plan = (await planTrace(native, options)).modules[0]?.plan;
  const planned = plan?.functions[0];
  if (!plan || !planned) throw new Error(`${FUNCTION} cannot be traced`);
  const burn = (): Promise<number> => target.number(`framed ${CALLS}`);
  const empty = (entry: number) => async (): Promise<number> => {
    const plain = [entry, ...planned.returns.map(({ address }) => address)];
    const sites = { plain, around: [] };
    const floor = await Floor.attach(native, features, plan.module, target.pid, sites);
    const ns = await burn();
    await floor.detach();
    return ns;
  };
  const times = await inTurn(ROUNDS, {
    untraced: burn,
    floor: empty(planned.entry.address),
    statistics: async () => {
      const trace = await startTrace(native, options);
      const ns = await burn();
      await trace.stop();
      return ns;
    },
    others: empty(planned.address),
  });
  plan.module.close();
  const added = (way: readonly number[]): Spread => spread(difference(way, times.untraced));
  const ofFloor = spread(ratios(times.statistics, times.floor, times.untraced));
  const ofOthers = spread(ratios(times.statistics, times.others, times.untraced));
  return {
    costs: [
      { what: 'floor: empty programs at our sites', addedNs: added(times.floor) },
      { what: 'statistics', addedNs: added(times.statistics) },
      { what: "empty programs at the symbol's start and each `ret`", addedNs: added(times.others) },
    ],
    found: {
      goFloor: measured('goFloor', ofFloor.median, range(ofFloor, twoDigits)),
      goOthers: measured('goOthers', ofOthers.median, range(ofOthers, twoDigits)),
    },
  };
}
