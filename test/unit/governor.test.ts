/** What the governor decides, on a clock of its own. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Governor, type GovernorAction } from '../../src/session/governor.js';

const STEP = 0.01;
/** What is withdrawn is gone so much later, in seconds. */
const DELAY = 0.02;
/** Five per cent of a CPU. */
const BUDGET = 0.05e9;
const CALL_NS = 10_000;
const COUNT_NS = 1_200;

interface Simulated {
  /** Calls a second that the program makes when it is not traced. */
  demand: number;
}

/** A program whose every function has a thread of its own, which the cost of tracing slows down. */
class Program {
  readonly withdrawn = new Set<number>();
  readonly onlyCounted = new Set<number>();
  readonly counted = new Map<number, number>();
  readonly log: { at: number; action: GovernorAction }[] = [];
  private readonly later: { at: number; act: () => void }[] = [];
  thinned = false;
  spentNs = 0;
  now = 0;

  constructor(
    readonly functions: Simulated[],
    readonly governor: Governor,
    readonly spanNs = 500,
    /** Null: no function can be counted by its entries alone. */
    readonly countNs: number | null = null,
  ) {}

  run(seconds: number): void {
    for (let end = this.now + seconds; this.now < end; this.now += STEP) this.step();
  }

  /** Of one kind, in order. */
  actions<Kind extends GovernorAction['do']>(
    kind: Kind,
  ): { at: number; action: GovernorAction & { do: Kind } }[] {
    return this.log.filter(
      (each): each is { at: number; action: GovernorAction & { do: Kind } } =>
        each.action.do === kind,
    );
  }

  private step(): void {
    while ((this.later[0]?.at ?? Infinity) <= this.now) this.later.shift()?.act();
    const costs = this.functions.flatMap(({ demand }, index) => {
      if (this.withdrawn.has(index)) return [];
      const whole = CALL_NS + (this.thinned ? 0 : this.spanNs);
      const costNs = this.onlyCounted.has(index) ? (this.countNs ?? NaN) : whole;
      const calls = STEP / (1 / demand + costNs / 1e9);
      this.counted.set(index, (this.counted.get(index) ?? 0) + calls);
      this.spentNs += calls * costNs;
      const { spanNs, countNs } = this;
      return [{ index, calls, callNs: CALL_NS, spanNs, countNs }];
    });
    for (const action of this.governor.step(STEP, costs)) {
      this.log.push({ at: this.now, action });
      this.later.push({ at: this.now + DELAY, act: () => this.act(action) });
    }
  }

  private act(action: GovernorAction): void {
    switch (action.do) {
      case 'thin':
      case 'restore spans':
        this.thinned = action.do === 'thin';
        break;
      case 'count':
        for (const each of action.functions) this.onlyCounted.add(each);
        break;
      case 'withdraw':
        for (const each of action.functions) this.withdrawn.add(each);
        for (const each of action.functions) this.onlyCounted.delete(each);
        break;
      case 'restore':
        this.withdrawn.delete(action.function);
        this.onlyCounted.delete(action.function);
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

  test('it never spends more than the budget', () => {
    for (const demands of [[1_000_000], [100, 1_000_000, 300], [4_000, 4_000, 4_000, 4_000]]) {
      for (const countNs of [null, COUNT_NS]) {
        const functions = demands.map((demand) => ({ demand }));
        const hot = new Program(functions, new Governor(BUDGET), 500, countNs);
        hot.run(120);
        const share = hot.spentNs / 120 / BUDGET;
        assert.ok(share < 1, `${demands.join()}: ${share}`);
      }
    }
  });

  test('functions that the budget pays for are seen whole, whatever had to go', () => {
    const all = program(1_000_000, 3_000, 800);
    all.run(60);
    const share = ((all.counted.get(1) ?? 0) + (all.counted.get(2) ?? 0)) / 60 / 3_800;
    assert.ok(share > 0.95, `${share}`);
  });

  test('what is too dear is only counted, if the budget pays for that', () => {
    const busy = new Program(
      [{ demand: 30_000 }, { demand: 50 }],
      new Governor(BUDGET),
      500,
      COUNT_NS,
    );
    busy.run(10);
    const [count] = busy.actions('count');
    assert.deepEqual(count?.action.functions, [0]);
    assert.deepEqual(busy.actions('withdraw'), []);
    assert.deepEqual(busy.governor.counted, [0]);
    // Nothing is missed.
    const made = busy.counted.get(0) ?? 0;
    assert.ok(made > 0.9 * 10 * 30_000, `${made}`);
  });

  test('what is only counted is seen whole again as soon as the budget pays for it', () => {
    const busy = new Program([{ demand: 30_000 }], new Governor(BUDGET), 500, COUNT_NS);
    busy.run(4);
    (busy.functions[0] as Simulated).demand = 1_000;
    busy.run(8);
    assert.equal(busy.onlyCounted.size, 0);
    assert.equal(busy.actions('restore').length, 1);
  });

  test('what is too dear even to be counted is withdrawn', () => {
    const hot = new Program(
      [{ demand: 1_000_000 }, { demand: 50 }],
      new Governor(BUDGET),
      500,
      COUNT_NS,
    );
    hot.run(10);
    assert.deepEqual(hot.governor.withdrawn, [0]);
    assert.deepEqual(hot.governor.counted, []);
  });

  test('looks at a function become rarer, and take a hundredth of the time at most', () => {
    const hot = new Program([{ demand: 1_000_000 }], new Governor(BUDGET), 500, COUNT_NS);
    hot.run(1_000);
    const looks = hot.actions('restore').map(({ at }) => at);
    const apart = looks.slice(1).map((at, index) => at - (looks[index] ?? 0));
    assert.ok(looks.length >= 5 && looks.length < 12, looks.join());
    assert.ok(apart.slice(0, 3).every((each, index) => each < (apart[index + 1] ?? 0)));
    const ends = hot.actions('withdraw').map(({ at }) => at);
    looks.forEach((at, index) => assert.ok((ends[index + 1] ?? Infinity) - at < 0.15));
  });

  test('a function that was too dear comes back, and stays when it has become cheap', () => {
    const once = program(100, 1_000_000);
    once.run(10);
    (once.functions[1] as Simulated).demand = 100;
    once.run(20);
    assert.equal(once.withdrawn.size, 0);
    assert.equal(once.thinned, false);
    // As if nothing had been.
    (once.functions[1] as Simulated).demand = 1_000_000;
    once.run(30);
    assert.equal(once.actions('restore').length, 2);
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
    all.run(300);
    const visits = [0, 0, 0];
    for (const { action } of all.actions('restore')) {
      visits[action.function] = (visits[action.function] ?? 0) + 1;
    }
    const [least, , most] = visits.sort((a, b) => a - b);
    assert.ok((least ?? 0) >= 3 && (most ?? 0) - (least ?? 0) <= 1, visits.join());
  });

  test('what belongs to no function leaves the others half of the budget', () => {
    const governor = new Governor(BUDGET);
    const cheap = { index: 0, calls: 20, callNs: CALL_NS, spanNs: 500, countNs: null };
    // Together the calls cost two fifths of the budget, the rest twice of it.
    for (let at = 0; at < 60; at += STEP) governor.step(STEP, [cheap], 2 * BUDGET * STEP);
    assert.deepEqual(governor.withdrawn, []);
    assert.equal(governor.isThinned, true);
    assert.ok(Math.abs((governor.otherShare ?? 0) - 0.1) < 0.001, `${governor.otherShare}`);
    // And when that is over, all is well again before long.
    for (let at = 0; at < 25; at += STEP) governor.step(STEP, [cheap]);
    assert.equal(governor.isThinned, false);
    assert.equal(governor.otherShare, null);
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
