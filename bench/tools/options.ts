/** What the command line has. */
import { trace } from '../../test/tools/tracer.js';

export async function hasOption(name: string): Promise<boolean> {
  return (await trace(['attach', '--help'])).stdout.includes(name);
}

export const BUDGET = '--max-overhead';
export const NO_BUDGET = `there is no \`${BUDGET}\` yet`;
