/**
 * A hundred thousand requests, of which few are kept: no span hangs from one of ours that is not
 * there, trees are kept or dropped as a whole, and every call that the program counts is a span or
 * a counted loss. UNDERSPAN_REQUESTS is how many.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { startTrace, type TraceOptions } from '../../src/engine.js';
import { loadNative } from '../../src/native/load.js';
import type { Sink, Summary } from '../../src/sinks/sink.js';
import type { FunctionSpan } from '../../src/spans/span.js';
import { runLoad } from '../tools/load.js';
import { traceOptions } from '../tools/options.js';
import { missingBpf } from '../tools/require.js';
import { Shop } from '../tools/shop.js';

const REQUESTS = Number(process.env['UNDERSPAN_REQUESTS'] ?? 100_000);
/** One of so many orders something, and is slow. */
const ORDER_EVERY = 100;
const IO_MS = 20;
/** Calls of main.tick in each of the others. */
const TICKS = 7;

/** These begin trees, beneath the program's span of the request. */
const HEADER = 'main.(*TraceHeader).ServeHTTP';
const BURNER = 'main.(*BurnHandler).ServeHTTP.func1';
const BURN = 'main.(*BurnHandler).ServeHTTP';
const ORDER = 'main.(*OrderHandler).ServeHTTP';
const PARSE = 'main.parseOrder';
const NUMBER = 'main.number';
const TICK = 'main.tick';
const SYMBOLS = [HEADER, BURNER, BURN, ORDER, PARSE, NUMBER, TICK];

/** What came of one way to keep few. */
class Kept implements Sink {
  readonly counts: Record<string, number> = Object.fromEntries(SYMBOLS.map((name) => [name, 0]));
  readonly traces = new Set<string>();
  total = 0;
  incomplete = 0;
  fastestOutermost = Infinity;
  summary!: Summary;
  private readonly ids = new Set<string>();
  /** Parents of ours that have not come yet. */
  private readonly missing = new Set<string>();

  spans(tree: readonly FunctionSpan[]): void {
    for (const { spanId, name, parentSpanId, traceId, durationNano, attributes } of tree) {
      this.total++;
      this.counts[name] = (this.counts[name] ?? 0) + 1;
      this.traces.add(traceId);
      this.ids.add(spanId);
      this.missing.delete(spanId);
      if (attributes['underspan.incomplete'] === true) this.incomplete++;
      const isOutermost = name === HEADER || name === BURNER;
      if (isOutermost) this.fastestOutermost = Math.min(this.fastestOutermost, durationNano);
      else if (!this.ids.has(parentSpanId ?? '')) this.missing.add(parentSpanId ?? '');
    }
  }

  close(summary: Summary): Promise<void> {
    this.summary = summary;
    return Promise.resolve();
  }

  get allLost(): number {
    return Object.values(this.summary.lost).reduce((sum, count) => sum + count, 0);
  }

  /** What holds of any. */
  check(counted: Record<string, number>): void {
    const what = JSON.stringify(this.summary.lost);
    assert.equal(this.missing.size, 0, `parents are missing: ${what}`);
    assert.equal(this.ids.size, this.total, 'a span came twice');
    for (const { name, calls, spans } of this.summary.functions) {
      assert.equal(calls, counted[name], name);
      assert.equal(spans, this.counts[name], name);
    }
    const calls = SYMBOLS.reduce((sum, name) => sum + (counted[name] ?? 0), 0);
    assert.equal(this.total + this.allLost, calls, what);
  }

  /** What holds where nothing was lost but what was asked for, by these reasons. */
  checkWhole(...reasons: string[]): void {
    const { counts } = this;
    const count = (name: string): number => counts[name] ?? 0;
    assert.equal(this.incomplete, 0);
    assert.equal(count(BURN) + count(ORDER), count(HEADER));
    assert.equal(count(NUMBER), 2 * count(BURN) + count(ORDER));
    assert.equal(count(PARSE), count(ORDER));
    assert.equal(count(TICK), TICKS * count(BURNER));
    const asked = reasons.reduce((sum, reason) => sum + (this.summary.lost[reason] ?? 0), 0);
    assert.equal(this.allLost, asked, JSON.stringify(this.summary.lost));
    // Of every tree that was dropped all calls are counted: 4 of a handler's, 8 of a burner's.
    assert.equal(asked % 4, 0);
  }
}

const SESSIONS: Record<string, Partial<TraceOptions>> = {
  sampled: { sample: 0.01 },
  slow: { slowerThanNs: IO_MS * 1e6 },
  limited: { maxRate: 50 },
  small: { ringBytes: 4_096 },
};

describe(`${REQUESTS.toLocaleString('en')} requests`, { skip: missingBpf() }, () => {
  const kept: Record<string, Kept> = {};
  let counted: Record<string, number> = {};
  let seconds = 0;

  before(async () => {
    const shop = await Shop.start({ env: { SHOP_IO: `${IO_MS}ms` } });
    try {
      const { calls: earlier } = await shop.counters();
      const traces = [];
      for (const [name, options] of Object.entries(SESSIONS)) {
        const sink = (kept[name] = new Kept());
        traces.push(
          await startTrace(
            loadNative(),
            traceOptions(shop.pid, HEADER, {
              symbols: SYMBOLS,
              roots: false,
              // Several tracers look at the same instructions.
              emulateReturns: false,
              ringBytes: 64 << 20,
              sinks: [sink],
              ...options,
            }),
          ),
        );
      }
      const urls = Array.from({ length: ORDER_EVERY }, (_, index) =>
        index === 0 ? `${shop.url}/order?items=1` : `${shop.url}/burn?calls=${TICKS}&goroutines=1`,
      );
      const load = await runLoad({
        urls,
        requests: REQUESTS,
        concurrency: 16,
        // Some payments are declined.
        accept: (status) => status === 200 || status === 402,
      });
      assert.equal(load.failures, 0, load.firstFailure ?? '');
      const { calls } = await shop.counters();
      counted = Object.fromEntries(
        SYMBOLS.map((name) => [name, (calls[name] ?? 0) - (earlier[name] ?? 0)]),
      );
      await Promise.all(traces.map((trace) => trace.stop()));
      seconds = load.seconds;
    } finally {
      await shop.stop();
    }
  });

  after(() => Object.values(kept).forEach((each) => each.traces.clear()));

  const of = (name: string): Kept => kept[name] ?? assert.fail('it did not run');

  test('the program counts them', (t) => {
    t.diagnostic(`${seconds.toFixed(1)} s: ${JSON.stringify(counted)}`);
    assert.equal(counted[HEADER], REQUESTS);
    assert.equal(counted[TICK], TICKS * (counted[BURNER] ?? 0));
  });

  test('one in a hundred traces', (t) => {
    const sampled = of('sampled');
    t.diagnostic(`${sampled.traces.size} traces, ${JSON.stringify(sampled.summary.lost)}`);
    sampled.check(counted);
    sampled.checkWhole('sampledOut');
    // Both trees of a trace, or none: seven standard deviations around a hundredth.
    const share = REQUESTS / 100;
    assert.ok(Math.abs(sampled.traces.size - share) < 7 * Math.sqrt(share));
    assert.equal(sampled.counts[HEADER], sampled.traces.size);
    assert.equal(sampled.counts[BURNER], sampled.counts[BURN]);
  });

  test('the slow ones', (t) => {
    const slow = of('slow');
    t.diagnostic(`${slow.traces.size} traces, ${JSON.stringify(slow.summary.lost)}`);
    slow.check(counted);
    slow.checkWhole('filtered');
    assert.equal(slow.counts[ORDER], counted[ORDER], 'each order is slow');
    assert.ok(slow.fastestOutermost > IO_MS * 1e6);
    assert.ok((slow.summary.lost['filtered'] ?? 0) > 0);
  });

  test('no more than fifty trees a second', (t) => {
    const limited = of('limited');
    t.diagnostic(`${limited.traces.size} traces, ${JSON.stringify(limited.summary.lost)}`);
    limited.check(counted);
    limited.checkWhole('rate');
    const trees = (limited.counts[HEADER] ?? 0) + (limited.counts[BURNER] ?? 0);
    // A tenth of a second's worth may come at once.
    assert.ok(trees <= 50 * (seconds + 2), `${trees} trees in ${seconds} s`);
    assert.ok(trees > 0);
  });

  test('through a ring that is too small', (t) => {
    const small = of('small');
    t.diagnostic(`${small.total} spans, ${JSON.stringify(small.summary.lost)}`);
    small.check(counted);
    const { lost } = small.summary;
    assert.ok((lost['ringFull'] ?? 0) > 0, 'the ring was large enough');
    assert.equal(small.allLost, (lost['ringFull'] ?? 0) + (lost['torn'] ?? 0));
  });
});
