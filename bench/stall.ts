/** How long a program stands still while probes are put into it and taken out again. */
import { startTrace } from '../src/engine.js';
import { loadNative } from '../src/native/load.js';
import { traceOptions } from '../test/tools/options.js';
import { type Found, measured } from './reach.js';
import { Asked } from './tools/asked.js';
import { MANY, manyFunctions } from './tools/many-functions.js';
import { spread } from './tools/rounds.js';
import { range } from './tools/text.js';

const ROUNDS = 7;
const WATCHED_MS = 1_500;

export async function measureStall(): Promise<Found> {
  const native = loadNative();
  const target = await Asked.start(await manyFunctions());
  try {
    const longest = async (): Promise<number> => (await target.number('')) / 1e6;
    const options = traceOptions(target.pid, 'many_*', {
      maxFunctions: MANY,
      minDurationNs: 1e12,
      // One site each, so that it is the 5,000 that are asked for.
      returnTrampoline: true,
    });
    const added: number[] = [];
    await longest();
    for (let round = 0; round < ROUNDS; round++) {
      await new Promise((resolve) => setTimeout(resolve, WATCHED_MS));
      const untraced = await longest();
      const trace = await startTrace(native, options);
      const attaching = await longest();
      await new Promise((resolve) => setTimeout(resolve, 100));
      await longest();
      await trace.stop();
      const detaching = await longest();
      added.push(Math.max(attaching, detaching) - untraced);
    }
    const stall = spread(added);
    const text = range(stall, (ms) => ms.toFixed(1), ' ms');
    return { stall: measured('stall', stall.median, text) };
  } finally {
    await target.stop();
  }
}
