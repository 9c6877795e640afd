/** test/targets/waits in one of its modes, traced with what its calls wait for. */
import assert from 'node:assert/strict';
import { type Reported, traceReporting } from './reporting-target.js';
import type { Skippable } from './require.js';
import { totalLost } from './tracer.js';

/** No call is lost. Null: it cannot be built here. */
export async function traceWaits<Report>(
  t: Skippable,
  release: string,
  [mode, count]: readonly [mode: string, count: number],
  functions: readonly string[],
): Promise<Reported<Report> | null> {
  const args = (file: string): string[] => [mode, String(count), file];
  const options = ['--waits', ...functions];
  const traced = await traceReporting<Report>(t, 'waits', { release }, args, options);
  if (traced) assert.equal(totalLost(traced.tracer.result), 0);
  return traced;
}
