import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { timeAttribute, type TimeReason, WAIT_EVENT } from '../../src/spans/time-attributes.js';
import { Why, type WhyOptions, type WhyReport } from '../../src/why/analysis.js';
import { randomNumbers } from '../../src/why/reservoir.js';
import { Durations } from '../../src/why/durations.js';
import { atLeast } from '../../src/why/statistics.js';
import { sentenceOf } from '../../src/why/words.js';
import { type MadeCall, MadeRequests } from '../tools/made-requests.js';

const ms = (value: number): number => value * 1e6;
const spent = (reason: TimeReason, forMs: number): Record<string, number> => ({
  [timeAttribute(reason)]: ms(forMs),
});

/** An order: some functions, each of which takes a little, more or less. */
function order(random: () => number, changes: Record<string, Partial<MadeCall>> = {}): MadeCall {
  const call = (name: string, beneath: MadeCall[] = []): MadeCall => ({
    name,
    selfMs: 0.1 + random() * 0.1,
    beneath,
    ...changes[name],
  });
  return call('main.serve', [
    call('main.parse'),
    call('main.place', [call('main.reserve'), call('main.pay'), call('main.confirm')]),
    call('main.write'),
  ]);
}

function analyse(
  fill: (made: MadeRequests, random: () => number) => void,
  options: Partial<WhyOptions> = {},
  seed = 1,
): WhyReport {
  const made = new MadeRequests();
  fill(made, randomNumbers(seed));
  const why = new Why({ criterion: { kind: 'outliers' }, ...options });
  why.calls(made.calls);
  why.programSpans(made.programSpans);
  return why.report();
}

/** A hundred orders, of which one in five is changed. */
const orders =
  (change: (nth: number) => Record<string, Partial<MadeCall>>) =>
  (made: MadeRequests, random: () => number): void => {
    for (let nth = 0; nth < 100; nth++) {
      made.add({
        name: 'POST /order',
        atMs: nth * 10,
        call: order(random, nth % 5 === 0 ? change(nth) : {}),
        attributes: { 'tenant.id': nth % 5 === 0 ? 'acme' : `t-${nth % 3}`, 'order.id': nth },
      });
    }
  };

describe('who is blamed', () => {
  test('the function that takes longer in slow requests, and not those around it', () => {
    const report = analyse(orders(() => ({ 'main.pay': { selfMs: 20 } })));
    assert.equal(report.verdict?.function, 'main.pay');
    assert.equal(report.verdict.reason, null);
    assert.deepEqual([report.slow, report.requests], [20, 100]);
    assert.deepEqual([report.verdict.agree, report.verdict.of], [20, 20]);
    assert.ok(Math.abs(report.verdict.share - 1) < 0.02, `${report.verdict.share}`);
    assert.ok(Math.abs(report.verdict.differenceNs - ms(19.85)) < ms(0.1));
    assert.deepEqual(
      report.path.map(({ name }) => name),
      ['POST /order', 'main.serve', 'main.place', 'main.pay'],
    );
    const shares = report.functions.reduce((sum, { share }) => sum + share, 0);
    assert.ok(Math.abs(shares - 1) < 1e-9, 'the whole difference is somebody’s');
  });

  test('what it waited for, and who held it', () => {
    const events = [
      {
        name: WAIT_EVENT,
        timeUnixNano: 0n,
        attributes: {
          'underspan.wait.reason': 'mutex',
          'underspan.wait.duration': ms(18),
          'underspan.wait.by.function': 'main.(*Ledger).Audit',
          'underspan.wait.by.trace_id': 'abc',
        },
      },
    ];
    const attributes = { ...spent('running', 2), ...spent('mutex', 18) };
    const report = analyse(orders(() => ({ 'main.pay': { selfMs: 20, attributes, events } })));
    assert.equal(report.verdict?.reason, 'mutex');
    assert.deepEqual(report.verdict.by, { function: 'main.(*Ledger).Audit', traceId: 'abc' });
    assert.match(
      sentenceOf(report),
      /^POST \/order was slow 20 times of 100: 19\.\d ms in main\.pay waiting for a mutex that main\.\(\*Ledger\)\.Audit held; 20 of 20 slow requests agree/,
    );
  });

  test('times of what ran beneath are not the caller’s', () => {
    const inner = { selfMs: 20, attributes: spent('network', 20) };
    const outer = { attributes: { ...spent('network', 20), ...spent('running', 0.5) } };
    const report = analyse(
      orders(() => ({ 'main.place': outer, 'main.pay': inner, 'main.serve': outer })),
    );
    assert.deepEqual([report.verdict?.function, report.verdict?.reason], ['main.pay', 'network']);
    const place = report.functions.find(({ name }) => name === 'main.place');
    assert.equal(place?.times.network ?? 0, 0);
  });

  test('a worker on another goroutine that others wait for', () => {
    const worker = { name: 'main.work', selfMs: 20, apart: true as const };
    const waits = { selfMs: 24, beneath: [worker], attributes: spent('channel_receive', 23) };
    const report = analyse(orders(() => ({ 'main.reserve': waits })));
    assert.equal(report.verdict?.function, 'main.work');
    assert.equal(report.path.at(-1)?.name, 'main.work');
  });

  test('whoever waits for a worker that has yet to begin', () => {
    const worker = { name: 'main.work', selfMs: 0.1, apart: true as const };
    const report = analyse((made, random) => {
      for (let nth = 0; nth < 100; nth++) {
        const waitMs = nth % 5 === 0 ? 20 : 0.2;
        const reserve = {
          selfMs: waitMs,
          beneath: [worker],
          attributes: spent('channel_receive', waitMs),
        };
        made.add({
          name: 'POST /order',
          atMs: nth * 10,
          call: order(random, { 'main.reserve': reserve }),
        });
      }
    });
    assert.deepEqual(
      [report.verdict?.function, report.verdict?.reason],
      ['main.reserve', 'channel_receive'],
    );
  });

  test('nothing waits for what outlives the request', () => {
    const later = { name: 'main.later', selfMs: 50, apart: true as const };
    const report = analyse(
      orders(() => ({ 'main.pay': { selfMs: 20 }, 'main.write': { beneath: [later] } })),
    );
    assert.equal(report.verdict?.function, 'main.pay');
    assert.ok(!report.functions.some(({ name }) => name === 'main.later'));
  });

  test('who calls another too often', () => {
    const rows = (count: number): MadeCall[] =>
      Array.from({ length: count }, () => ({
        name: 'main.fetch',
        selfMs: 0.1,
        beneath: [{ name: 'main.query', selfMs: 0.4 }],
      }));
    const report = analyse((made, random) => {
      for (let nth = 0; nth < 100; nth++) {
        // The one call is where normal requests vary as well.
        const reserve = { beneath: rows(nth % 5 === 0 ? 40 : 1) };
        made.add({
          name: 'POST /order',
          atMs: nth * 10,
          call: order(random, { 'main.reserve': reserve }),
        });
      }
    });
    assert.equal(report.verdict?.reason, 'calls');
    assert.equal(report.verdict.function, 'main.reserve');
    assert.deepEqual(report.verdict.calls, {
      caller: 'main.reserve',
      function: 'main.fetch',
      slow: 40,
      normal: 1,
    });
    assert.match(sentenceOf(report), /main\.reserve calling main\.fetch 40 times, normally 1;/);
  });

  test('whoever allocates and whoever computes are told apart', () => {
    const running = spent('running', 20);
    const busy = analyse(orders(() => ({ 'main.pay': { selfMs: 20, attributes: running } })));
    assert.equal(busy.verdict?.reason, 'running');
    const attributes = { ...running, 'underspan.allocated': 50e6 };
    const wasteful = analyse(orders(() => ({ 'main.pay': { selfMs: 20, attributes } })));
    assert.equal(wasteful.verdict?.reason, 'allocation');
  });

  test('an error, where it came up', () => {
    const failing = {
      'main.reserve': { error: 'no such thing' },
      'main.place': { error: 'no such thing' },
    };
    const fill = orders((nth) =>
      nth % 10 === 0 ? failing : { 'main.pay': { error: nth === 5 ? 'declined' : 'no' } },
    );
    const report = analyse(fill, { criterion: { kind: 'errors' } });
    assert.equal(report.verdict?.function, 'main.reserve');
    assert.equal(report.verdict.reason, 'error');
    assert.deepEqual(report.verdict.error, { type: null, message: 'no such thing' });
    assert.deepEqual([report.verdict.agree, report.verdict.of], [10, 20]);
    assert.match(
      sentenceOf(report),
      /^POST \/order failed 20 times of 100: main\.reserve returned/,
    );
  });

  test('what slow requests have in common', () => {
    const report = analyse(orders(() => ({ 'main.pay': { selfMs: 20 } })));
    assert.deepEqual(report.verdict?.mark, {
      key: 'tenant.id',
      value: 'acme',
      slow: 20,
      ofSlow: 20,
      normal: 0,
      ofNormal: 80,
    });
  });

  test('those that are slower than asked, however few there are', () => {
    const fill = orders((nth) => (nth === 50 ? { 'main.pay': { selfMs: 20 } } : {}));
    const asked = analyse(fill, { criterion: { kind: 'slower-than', ns: ms(10) } });
    assert.deepEqual([asked.verdict?.function, asked.slow], ['main.pay', 1]);
    assert.equal(analyse(fill).verdict, null, 'one of its kind is no evidence');
  });

  test('where all are slow it is said that there is nothing to compare with', () => {
    const fill = (made: MadeRequests, random: () => number): void => {
      for (let nth = 0; nth < 20; nth++) {
        const call = order(random, { 'main.pay': { selfMs: 20 } });
        made.add({ name: 'POST /order', atMs: nth * 10, call });
      }
    };
    const report = analyse(fill, { criterion: { kind: 'slower-than', ns: ms(10) } });
    assert.equal(report.verdict?.function, 'main.pay');
    assert.match(
      sentenceOf(report),
      /^POST \/order was slow 20 times of 20, and no other is there to compare with: most of its time, 20\.0 ms, is in main\.pay; 20 of 20/,
    );
  });

  test('also among many names, of which few requests each are kept', () => {
    const report = analyse((made, random) => {
      for (let nth = 0; nth < 100; nth++) {
        for (let name = 0; name < 40; name++) {
          const slow = name === 7 && nth % 5 === 0 ? { 'main.pay': { selfMs: 20 } } : {};
          made.add({ name: `GET /${name}`, atMs: nth * 10, call: order(random, slow) });
        }
      }
    });
    assert.deepEqual([report.request, report.verdict?.function], ['GET /7', 'main.pay']);
    assert.deepEqual([report.requests, report.slow], [100, 20]);
  });

  test('the evidence is a trace that shows it', () => {
    const traces: string[] = [];
    const report = analyse((made, random) => {
      for (let nth = 0; nth < 100; nth++) {
        const slow = nth % 5 === 0 ? { 'main.pay': { selfMs: 20 } } : {};
        const id = made.add({ name: 'GET /', atMs: nth * 10, call: order(random, slow) });
        if (nth % 5 === 0) traces.push(id);
      }
    });
    assert.ok(report.verdict && traces.includes(report.verdict.traceId));
  });

  test('of several requests the one on which most time is lost', () => {
    const report = analyse((made, random) => {
      for (let nth = 0; nth < 100; nth++) {
        const slow = (selfMs: number): Record<string, Partial<MadeCall>> =>
          nth % 5 === 0 ? { 'main.pay': { selfMs } } : {};
        made.add({ name: 'GET /a', atMs: nth * 10, call: order(random, slow(20)) });
        made.add({ name: 'GET /b', atMs: nth * 10, call: order(random, slow(60)) });
        made.add({ name: 'GET /c', atMs: nth * 10, call: order(random) });
      }
    });
    assert.equal(report.request, 'GET /b');
    assert.deepEqual(
      report.others.map(({ request, verdict }) => [request, verdict?.function ?? null]),
      [
        ['GET /a', 'main.pay'],
        ['GET /c', null],
      ],
    );
  });
});

describe('nobody is blamed', () => {
  test('for delays that strike anywhere', () => {
    const names = ['main.serve', 'main.parse', 'main.place', 'main.reserve', 'main.pay'];
    let blamed = 0;
    for (let seed = 1; seed <= 200; seed++) {
      const report = analyse(
        (made, random) => {
          for (let nth = 0; nth < 200; nth++) {
            const name = names[Math.floor(random() * names.length)] ?? '';
            const delay = random() < 0.1 ? { [name]: { selfMs: 1 / (random() + 0.02) } } : {};
            made.add({ name: 'GET /', atMs: nth * 10, call: order(random, delay) });
          }
        },
        {},
        seed,
      );
      if (report.verdict) blamed++;
    }
    assert.equal(blamed, 0);
  });

  test('where normal requests vary as much', () => {
    let blamed = 0;
    for (let seed = 1; seed <= 100; seed++) {
      const report = analyse(
        (made, random) => {
          for (let nth = 0; nth < 200; nth++) {
            const selfMs = Math.exp(random() + random() + random() - 1);
            made.add({
              name: 'GET /',
              atMs: nth * 10,
              call: order(random, { 'main.pay': { selfMs } }),
            });
          }
        },
        {},
        seed,
      );
      if (report.verdict) blamed++;
    }
    assert.equal(blamed, 0);
  });

  test('for one moment in which everything hung', () => {
    const report = analyse((made, random) => {
      for (let nth = 0; nth < 200; nth++) {
        const slow = nth >= 100 && nth < 115 ? { 'main.pay': { selfMs: 30 } } : {};
        made.add({ name: 'GET /', atMs: nth * 10, call: order(random, slow) });
      }
    });
    assert.deepEqual([report.verdict, report.nothing], [null, 'alike']);
  });

  test('where there was no CPU to run on', () => {
    const attributes = { ...spent('running', 1), ...spent('runnable', 19) };
    const report = analyse(orders(() => ({ 'main.pay': { selfMs: 20, attributes } })));
    assert.deepEqual([report.verdict, report.nothing], [null, 'cpu']);
    assert.match(sentenceOf(report), /waited for a CPU/);
  });

  test('where nothing was seen', () => {
    const report = analyse(() => undefined);
    assert.deepEqual([report.verdict, report.requests, report.nothing], [null, 0, 'few']);
    assert.equal(sentenceOf(report), 'no request was seen to its end');
  });
});

describe('what is kept', () => {
  test('spans come in any order and a trace waits for the span that it lacks', () => {
    const made = new MadeRequests();
    orders(() => ({ 'main.pay': { selfMs: 20 } }))(made, randomNumbers(1));
    let now = 0;
    const why = new Why({ criterion: { kind: 'outliers' }, now: () => now });
    for (const span of made.calls) {
      now += 50;
      why.calls([span]);
    }
    why.programSpans(made.programSpans);
    assert.equal(why.report().verdict?.function, 'main.pay');
  });

  test('a call around a span of the program’s is no request of its own', () => {
    const made = new MadeRequests();
    made.add({ name: 'GET /', atMs: 1, call: order(randomNumbers(1)) });
    const [first] = made.calls;
    assert.ok(first);
    const around = {
      ...first,
      traceId: 'f'.repeat(32),
      spanId: 'f'.repeat(16),
      parentSpanId: null,
      name: 'main.outer',
      startTimeUnixNano: 0n,
      endTimeUnixNano: 1_000_000_000n,
    };
    const why = new Why({ criterion: { kind: 'outliers' } });

    const inner = { ...around, spanId: 'e'.repeat(16), parentSpanId: around.spanId };
    const attributes = {
      ...first.attributes,
      'underspan.context.source': 'none',
    };
    why.calls(made.calls);
    why.calls([
      { ...inner, attributes },
      { ...around, attributes },
    ]);
    why.programSpans(made.programSpans);
    const report = why.report();
    assert.deepEqual([report.request, report.others], ['GET /', []]);
  });

  test('no more spans than there is room for; what has no room is counted', () => {
    const made = new MadeRequests();
    const random = randomNumbers(1);
    const many = Array.from({ length: 50 }, () => ({ name: 'main.fetch', selfMs: 0.1 }));
    made.add({
      name: 'GET /',
      atMs: 0,
      call: order(random, { 'main.pay': { beneath: many } }),
    });
    const why = new Why({ criterion: { kind: 'outliers' }, maxSpansOfTrace: 20 });
    why.calls(made.calls);
    why.programSpans(made.programSpans);
    const report = why.report();
    assert.equal(report.dropped, made.calls.length + 1 - 20);
    assert.ok(report.incomplete >= 1);
    assert.equal(report.requests, 0, 'what is torn is not compared');
  });

  test('parents that lead in a circle end nothing', () => {
    const made = new MadeRequests();
    made.add({ name: 'GET /', atMs: 0, call: order(randomNumbers(1)) });
    const [a, b] = made.calls;
    assert.ok(a && b);
    a.parentSpanId = b.spanId;
    b.parentSpanId = a.spanId;
    const why = new Why({ criterion: { kind: 'outliers' } });
    why.calls(made.calls);
    why.programSpans(made.programSpans);
    assert.ok(why.report().requests >= 1);
  });

  test('a hundred thousand requests: exact counts, and the slow ones among those that are kept', () => {
    const durations = new Durations();
    for (let nth = 0; nth < 100_000; nth++) durations.add(nth % 100 === 0 ? 50e6 : 1e6 + nth);
    const boundary = durations.boundary();
    assert.ok(boundary !== null && boundary > 1.2e6 && boundary < 50e6);
    assert.equal(durations.above(boundary), 1_000);
  });
});

test('the chance of so many hits', () => {
  assert.ok(Math.abs(atLeast(1, 2, 0.5) - 0.75) < 1e-12);
  assert.ok(Math.abs(atLeast(3, 3, 0.1) - 0.001) < 1e-12);
  assert.equal(atLeast(0, 3, 0.1), 1);
});
