/** Whether it is seen what threads wait for, and who lets them go on. */
import assert from 'node:assert/strict';
import { Tracer } from '../tools/tracer.js';
import { mainReason, timesOf } from '../tools/waits.js';

const ROUNDS = 5;
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
  return `what ${ROUNDS * Object.keys(REASONS).length} calls waited for`;
}
