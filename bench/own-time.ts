/** What our programs take in the kernel, by its own clock for programs, less what an empty one takes. */
import { planTrace, type TraceOptions } from '../src/engine.js';
import { loadNative } from '../src/native/load.js';
import { buildTarget } from '../test/tools/go.js';
import { traceOptions } from '../test/tools/options.js';
import { type Found, measured, type RowName } from './reach.js';
import { Asked } from './tools/asked.js';
import { Floor } from './tools/floor.js';
import { oneRun, startWatched } from './tools/own-times.js';
import { type Spread, spread } from './tools/rounds.js';
import { range, whole } from './tools/text.js';

const CALLS = 30_000;
const ROUNDS = 7;
const HOPS = 20;

/** Entry and return, each for itself. */
interface Times {
  enter: number;
  leave: number;
}

export async function measureOwnTime(): Promise<Found> {
  const target = await Asked.start(await buildTarget('cost'), ['calls']);
  await target.line();
  const native = loadNative();
  const statistics = native.enableRunTimeStatistics();
  try {
    const features = await native.features();
    const plan = (await planTrace(native, traceOptions(target.pid, 'main.framed'))).modules[0]
      ?.plan;
    const address = plan?.functions[0]?.entry.address;
    if (!plan || address === undefined) throw new Error('main.framed cannot be traced');
    const empty = async (): Promise<number> => {
      const sites = { plain: [address], around: [] };
      const floor = await Floor.attach(native, features, plan.module, target.pid, sites);
      await target.number(`framed ${CALLS}`);
      const { ns } = oneRun(floor.runTimes(), 'nothing');
      await floor.detach();
      return ns;
    };
    const own = async (
      call: string,
      symbol: string,
      options: Partial<TraceOptions>,
    ): Promise<Times> => {
      const trace = await startWatched(native, traceOptions(target.pid, symbol, options));
      await target.number(call);
      const times = { enter: trace.run('enter').ns, leave: trace.run('leave').ns };
      await trace.stop();
      return times;
    };
    const silent = { minDurationNs: 1e12 };
    const found: Record<'entry' | 'leave' | 'span' | 'hop', number[]> = {
      entry: [],
      leave: [],
      span: [],
      hop: [],
    };
    for (let round = 0; round < ROUNDS; round++) {
      const nothing = await empty();
      const quiet = await own(`framed ${CALLS}`, 'main.framed', silent);
      const spans = await own(`framed ${CALLS}`, 'main.framed', { ringBytes: 1 << 26 });
      const near = await own(`context ${CALLS} 0`, 'main.withContext', silent);
      const far = await own(`context ${CALLS} ${HOPS}`, 'main.withContext', silent);
      found.entry.push(quiet.enter - nothing);
      found.leave.push(quiet.leave - nothing);
      found.span.push(spans.enter + spans.leave - quiet.enter - quiet.leave);
      found.hop.push((far.enter - near.enter) / HOPS);
    }
    plan.module.close();
    const row = (name: RowName, numbers: number[]) => {
      const times: Spread = spread(numbers);
      return measured(name, times.median, range(times, whole, ' ns'));
    };
    return {
      ownEntry: row('ownEntry', found.entry),
      ownReturn: row('ownReturn', found.leave),
      ownSpan: row('ownSpan', found.span),
      ownHop: row('ownHop', found.hop),
    };
  } finally {
    statistics.close();
    await target.stop();
  }
}
