/** What the governor decides, on a clock of its own. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Governor, type GovernorAction } from '../../src/session/governor.js';

const STEP = 0.025;
/** Five per cent of a CPU. */
const BUDGET = 0.05e9;
const CALL_NS = 10_000;

interface Simulated {
  /** Calls a second that the program makes when it is not traced. */
  demand: number;
}

/** A program whose every function has a thread of its own, which the cost of tracing slows down. */
class Program {
  readonly withdrawn = new Set<number>();
  readonly counted = new Map<number, number>();
  readonly log: { at: number; action: GovernorAction }[] = [];
  thinned = false;
  spentNs = 0;
  now = 0;

  constructor(
    readonly functions: Simulated[],
    readonly governor: Governor,
    readonly spanNs = 500,
  ) {}

  run(seconds: number): void {
    for (let end = this.now + seconds; this.now < end; this.now += STEP) this.step();
  }

  private step(): void {
    const costs = this.functions.flatMap(({ demand }, index) => {
      if (this.withdrawn.has(index))
        return [{ index, calls: 0, callNs: CALL_NS, spanNs: this.spanNs }];
      const costNs = CALL_NS + (this.thinned ? 0 : this.spanNs);
      const calls = STEP / (1 / demand + costNs / 1e9);
      this.counted.set(index, (this.counted.get(index) ?? 0) + calls);
      this.spentNs += calls * costNs;
      return [{ index, calls, callNs: CALL_NS, spanNs: this.spanNs }];
    });
    for (const action of this.governor.step(STEP, costs)) {
      this.log.push({ at: this.now, action });
      if (action.do === 'thin') this.thinned = true;
      if (action.do === 'restore spans') this.thinned = false;
      if (action.do === 'withdraw') action.functions.forEach((each) => this.withdrawn.add(each));
      if (action.do === 'restore') this.withdrawn.delete(action.function);
    }
  }
}

const program = (...demands: number[]): Program =>
  new Program(
    demands.map((demand) => ({ demand })),
    new Governor(BUDGET),
  );

describe('the governor', () => {
  test('leaves alone what the budget pays for', () => {
    const calm = program(1_000, 2_000);
    calm.run(60);
    assert.deepEqual(calm.log, []);
  });

  test('a hot function is withdrawn within a tenth of a second, and only that one', () => {
    const mixed = program(100, 1_000_000, 300);
    mixed.run(0.9);
    const [thin, withdraw] = mixed.log;
    assert.equal(thin?.action.do, 'thin');
    assert.deepEqual(withdraw?.action.do === 'withdraw' && withdraw.action.functions, [1]);
    assert.ok(withdraw && withdraw.at < 0.1, `${withdraw?.at}`);
    assert.deepEqual([...mixed.withdrawn], [1]);
  });

  test('over a minute it spends the budget, and no more', () => {
    for (const demands of [[1_000_000], [100, 1_000_000, 300], [4_000, 4_000, 4_000, 4_000]]) {
      const hot = program(...demands);
      hot.run(60);
      const share = hot.spentNs / 60 / BUDGET;
      assert.ok(share > 0.8 && share < 1.1, `${demands.join()}: ${share}`);
    }
  });

  test('a function that was too dear comes back, and stays when it has become cheap', () => {
    const once = program(100, 1_000_000);
    once.run(10);
    assert.ok(once.log.some(({ action }) => action.do === 'restore'));
    (once.functions[1] as Simulated).demand = 100;
    once.run(10);
    assert.equal(once.withdrawn.size, 0);
    assert.equal(once.thinned, false);
  });

  test('where spans alone are too dear, they stop and statistics go on', () => {
    const dear = new Program([{ demand: 4_000 }], new Governor(BUDGET), 5_000);
    dear.run(30);
    assert.deepEqual(
      dear.log.map(({ action }) => action.do),
      ['thin'],
    );
    assert.ok((dear.counted.get(0) ?? 0) > 30 * 3_000);
  });

  test('spans come back when there is room for them', () => {
    const dear = new Program([{ demand: 4_000 }], new Governor(BUDGET), 5_000);
    dear.run(10);
    assert.equal(dear.thinned, true);
    (dear.functions[0] as Simulated).demand = 500;
    dear.run(10);
    assert.equal(dear.thinned, false);
  });

  test('several that have been withdrawn come back in turn', () => {
    const all = program(1_000_000, 1_000_000, 1_000_000);
    all.run(30);
    const visits = [0, 0, 0];
    for (const { action } of all.log) {
      if (action.do === 'restore') visits[action.function] = (visits[action.function] ?? 0) + 1;
    }
    const [least, , most] = visits.sort((a, b) => a - b);
    assert.ok((least ?? 0) > 5 && (most ?? 0) - (least ?? 0) <= 1, visits.join());
  });

  test('a smaller budget holds at once', () => {
    const shrinking = program(4_000);
    shrinking.run(10);
    assert.deepEqual(shrinking.log, []);
    shrinking.governor.setBudget(BUDGET / 10);
    shrinking.run(1);
    assert.deepEqual([...shrinking.withdrawn], [0]);
  });
});
