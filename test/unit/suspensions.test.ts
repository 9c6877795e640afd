/** When all probes of an executable are taken back for a while, on a clock of its own. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Suspensions } from '../../src/session/suspensions.js';

const STEP = 0.01;
interface Module {
  name: string;
}

/** Costs too much whenever it is attached. */
function run(
  suspensions: Suspensions<Module>,
  seconds: number,
  isTooDear: (second: number, away: ReadonlySet<Module>) => Module | null,
): { at: number; what: string }[] {
  const log: { at: number; what: string }[] = [];
  for (let now = 0; now < seconds; now += STEP) {
    const dearest = isTooDear(now, suspensions.suspended);
    const { suspend, resume } = suspensions.step(STEP, dearest !== null, () => dearest);
    for (const { name } of resume) log.push({ at: now, what: `resume ${name}` });
    for (const { name } of suspend) log.push({ at: now, what: `suspend ${name}` });
  }
  return log;
}

const shop = { name: 'shop' };
const till = { name: 'till' };

describe('bookkeeping that is too dear', () => {
  test('is borne for a second, and then later and later', () => {
    const suspensions = new Suspensions<Module>();
    const log = run(suspensions, 1_000, (_, away) => (away.has(shop) ? null : shop));
    const waits = log.slice(1).map(({ at, what }, index) => [what, at - (log[index]?.at ?? 0)]);
    const expected = [15, 30, 60, 120, 240, 240, 240].flatMap((wait) => [
      ['resume shop', wait],
      ['suspend shop', 1],
    ]);
    assert.ok(Math.abs((log[0]?.at ?? 0) - 1) < 0.1);
    waits.forEach(([what, seconds], index) => {
      const [wanted, about] = expected[index] ?? [];
      assert.equal(what, wanted);
      // What was too dear before it went counts for a little while.
      assert.ok(Math.abs(Number(seconds) - Number(about)) < 1.1, `${what} after ${seconds}`);
    });
    assert.equal(suspensions.count, log.filter(({ what }) => what === 'suspend shop').length);
  });

  test('may be for a moment', () => {
    const log = run(new Suspensions<Module>(), 60, (second) => (second % 4 < 0.9 ? shop : null));
    assert.deepEqual(log, []);
  });

  test('that is back and stays cheap for long is new when it is dear again', () => {
    const suspensions = new Suspensions<Module>();
    const log = run(suspensions, 100, (second, away) =>
      (second < 5 || second > 60) && !away.has(shop) ? shop : null,
    );
    assert.deepEqual(
      log.map(({ what }) => what),
      ['suspend shop', 'resume shop', 'suspend shop', 'resume shop', 'suspend shop'],
    );
    assert.equal(Math.round((log[3]?.at ?? 0) - (log[2]?.at ?? 0)), 15);
    assert.equal(suspensions.waitOf(shop), 30);
  });

  test('goes one executable after the other', () => {
    const suspensions = new Suspensions<Module>();
    const log = run(
      suspensions,
      10,
      (_, away) => [shop, till].find((each) => !away.has(each)) ?? null,
    );
    assert.deepEqual(
      log.map(({ what }) => what),
      ['suspend shop', 'suspend till'],
    );
    suspensions.keepOnly([till]);
    assert.deepEqual([...suspensions.suspended], [till]);
    assert.ok(!run(suspensions, 20, () => null).some(({ what }) => what === 'resume shop'));
  });
});
