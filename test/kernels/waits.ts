/** Whether it is seen what threads wait for, and who lets them go on. */
import assert from 'node:assert/strict';
import { checkThrottled, makeGroup } from '../tools/throttled.js';
import { Tracer } from '../tools/tracer.js';
import { mainReason, timesOf } from '../tools/waits.js';

const ROUNDS = 5;
/** Emulated, the tracer's own work is in it. */
const THROTTLED_TOLERANCE = 0.2;
const REASONS = { locker: 'futex', sleeper: 'sleep', receiver: 'network', piper: 'system_call' };

export async function checkWaits(): Promise<string> {
  const symbols = ['holder', ...Object.keys(REASONS)].flatMap((name) => ['--symbol', name]);
  const program = ['/waits', String(ROUNDS), '0', '/tmp/waits.json', '/tmp'];
  const tracer = Tracer.start(['--waits', ...symbols, '--', ...program]);
  assert.equal(await tracer.ended(), 0, tracer.stderr);
  process.stderr.write(tracer.stderr);
  const of = (wanted: string) => tracer.spans.filter(({ name }) => name === wanted);
  for (const [name, reason] of Object.entries(REASONS)) {
    assert.equal(of(name).length, ROUNDS, name);
    assert.equal(mainReason(of(name)), reason, `${name}: ${JSON.stringify(timesOf(of(name)))}`);
  }
  const wakers = of('locker')
    .flatMap(({ events = [] }) => events)
    .filter(({ attributes }) => attributes['underspan.wait.reason'] === 'futex')
    .map(({ attributes }) => attributes['underspan.wait.by.function']);
  assert.deepEqual([...new Set(wakers)], ['holder']);
  const group = makeGroup();
  assert.ok(group, 'no control group can be given a share of the CPU');
  const throttled = await checkThrottled('/burn', group, THROTTLED_TOLERANCE);
  return `what ${ROUNDS * Object.keys(REASONS).length} calls waited for; ${throttled}`;
}
