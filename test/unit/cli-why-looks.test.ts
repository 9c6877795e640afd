/** The two looks of `trace why`, at a program that is made up. */
import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Stop } from '../../cli/attach.js';
import type { Context } from '../../cli/context.js';
import { Interrupts } from '../../cli/interrupts.js';
import { type Answer, look } from '../../cli/why-looks.js';
import { renderWhy, renderWhyJson } from '../../cli/why-text.js';
import type { Plan, Trace, TraceOptions } from '../../src/engine.js';
import { UnderspanError } from '../../src/errors.js';
import type { Sink, Summary } from '../../src/sinks/sink.js';
import { PLAIN } from '../../src/sinks/tree-format.js';
import { timeAttribute } from '../../src/spans/time-attributes.js';
import { type MadeCall, MadeRequests } from '../tools/made-requests.js';

const DURATION_MS = 60;
const FUNCTIONS = ['main.serve', 'main.pay', 'main.idle'];
const called = (name: string, callsPerSecond: number): object => ({
  name,
  callsPerSecond,
  callNs: 10_000,
});
const QUERY = called('main.query', 1_000);
const COUNTED = {
  called: [...FUNCTIONS.map((name) => called(name, 10)), QUERY],
  leftOut: [QUERY],
  budget: 0.02,
  patterns: new Map([['main.query', '/lib/a.so:main.query']]),
};

const plan = (functions: readonly string[], args: readonly string[] = []): Plan =>
  ({
    targets: [{ pid: 42 }],
    modules: [
      {
        path: '/bin/shop',
        pids: [42],
        role: { kind: 'main' },
        plan: {
          functions: functions.map((name) => ({
            name,
            values: { arguments: args.includes(name) ? [{}] : [] },
          })),
        },
      },
    ],
    notices: [],
  }) as unknown as Plan;

/** A fifth of the orders are slow; `query`: its calls are seen. */
function orders(query: boolean): MadeRequests {
  const made = new MadeRequests();
  for (let nth = 0; nth < 100; nth++) {
    const isSlow = nth % 5 === 0;
    const calls = Array.from({ length: isSlow ? 40 : 1 }, () => ({
      name: 'main.query',
      selfMs: 0.5 + (nth % 7) / 100,
    }));
    const pay: MadeCall = query
      ? { name: 'main.pay', selfMs: 0.1, beneath: calls }
      : { name: 'main.pay', selfMs: isSlow ? 20 : 0.2 + (nth % 7) / 100 };
    made.add({
      name: 'GET /order',
      atMs: nth * 10,
      call: { name: 'main.serve', selfMs: 0.6 + (nth % 3) / 10, beneath: [pay] },
    });
    if (nth % 5 < 3) continue;
    // Of which more is lost in the closer look, if that is not only at orders.
    const selfMs = query && nth % 5 === 4 ? 500 : 1;
    const attributes = { [timeAttribute('sleep')]: selfMs * 1e6 };
    made.add({ name: 'GET /', atMs: nth, call: { name: 'main.serve', selfMs, attributes } });
  }
  return made;
}

interface World {
  /** What the second look is given; an error: it cannot begin. */
  second?: MadeRequests | Error;
  /** The first look blames nobody. */
  isFine?: true;
  /** The program ends, or the user has enough, in this look. */
  endsIn?: 1 | 2;
  interruptedIn?: 1 | 'between' | 2;
  args?: string[];
}

interface Outcome {
  answer: Answer;
  text: string;
  json: Record<string, unknown>;
  stderr: string;
  traced: TraceOptions[];
  /** What became of the sink that exports. */
  exported: { spans: number; flushes: number; closed: Summary[] };
}

async function looks({ second = orders(true), ...world }: World = {}): Promise<Outcome> {
  const traced: TraceOptions[] = [];
  const exported: Outcome['exported'] = { spans: 0, flushes: 0, closed: [] };
  const exporting: Sink = {
    spans: (tree) => void (exported.spans += tree.length),
    flush: async () => void exported.flushes++,
    lost: () => ({ export: 7 }),
    close: async (summary) => void exported.closed.push(summary),
  };
  const stop = new Stop();
  let stderr = '';
  const startTrace = async (_native: unknown, options: TraceOptions): Promise<Trace> => {
    traced.push(options);
    const nth = traced.length;
    if (nth === 2 && second instanceof Error) throw second;
    const made = nth === 1 ? (world.isFine ? new MadeRequests() : orders(false)) : second;
    assert.ok(!(made instanceof Error));
    for (const sink of options.sinks) {
      sink.spans(made.calls);
      sink.programSpans?.(made.programSpans);
    }
    if (world.interruptedIn === nth) stop.request();
    return {
      plan: plan(nth === 1 ? FUNCTIONS : options.symbols, world.args ? ['main.idle'] : []),
      ended: world.endsIn === nth ? Promise.resolve() : new Promise(() => undefined),
      command: null,
      stop: async () => {
        if (world.interruptedIn === 'between' && nth === 1) stop.request();
        // No closer look may be decided on any more.
        if (world.interruptedIn === 1 || world.endsIn === 1) await sleep(DURATION_MS);
        await Promise.all(options.sinks.map((sink) => sink.flush?.(10)));
        const lost: Record<string, number> = { ringFull: nth };
        for (const sink of options.sinks) {
          for (const [reason, count] of Object.entries(sink.lost?.() ?? {})) lost[reason] = count;
        }
        const overhead = { predicted: nth / 100, measured: nth / 100 };
        const summary = { lost, overhead } as unknown as Summary;
        await Promise.all(options.sinks.map((sink) => sink.close(summary)));
        return summary;
      },
    };
  };
  const context = {
    native: () => null,
    startTrace,
    stderr: new Writable({
      write(chunk: Buffer, _encoding, done) {
        stderr += chunk.toString();
        done();
      },
    }),
  } as unknown as Context;
  const options = { selection: { waitMs: 9 }, symbols: ['main.*'], exclude: [], args: [] };
  const interrupts = new Interrupts(() => undefined);
  try {
    const { answer } = await look({
      context,
      values: { duration: DURATION_MS } as never,
      options: { ...options, args: world.args ?? [] } as never,
      counted: COUNTED as never,
      // A trace is whole as soon as its spans are there.
      asked: { criterion: { kind: 'outliers' }, quietMs: 0 },
      sinks: [exporting],
      stop,
      interrupts,
    });
    const json = JSON.parse(renderWhyJson(answer)) as Record<string, unknown>;
    return { answer, text: renderWhy(answer, PLAIN), json, stderr, traced, exported };
  } finally {
    interrupts.close();
  }
}

test('what was left out is looked at after all, and is to blame', async () => {
  const { answer, text, json, stderr, traced } = await looks();
  const [first, second] = traced;
  assert.deepEqual([first?.symbols, first?.exclude], [['main.*'], ['main.query']]);
  assert.deepEqual(second?.symbols, ['main.serve', 'main.pay', '/lib/a.so:main.query']);
  assert.deepEqual([second?.exclude, second?.selection.waitMs], [[], 0]);
  const { verdict, requests, others } = answer.report;
  assert.deepEqual([verdict?.function, verdict?.calls?.function], ['main.pay', 'main.query']);
  assert.equal(requests, 100, 'of one look only');
  assert.deepEqual(
    others.map(({ request, requests }) => [request, requests]),
    [['GET /', 40]],
    'of other requests only the first look knows',
  );
  assert.match(text, /^GET \/order was slow .* calling main\.query 40 times, normally 1;/);
  assert.match(
    text,
    /^looked again for [\d.]+ ms, at 3 functions: those on the path and 1 left out before; the answer is of this look$/m,
  );
  assert.deepEqual(json['lookedAgain'], {
    durationNano: (json['lookedAgain'] as { durationNano: number }).durationNano,
    functions: 3,
    added: ['main.query'],
    leftOut: [],
    answers: true,
    overhead: { predicted: 0.02, measured: 0.02 },
  });
  assert.match(stderr, /looking again, at 3 functions: those on the path and 1 left out before/);
});

test('what was lost is of both looks, and what they cost is said of each', async () => {
  const { text, json, exported } = await looks();
  assert.deepEqual(json['lost'], { ringFull: 3, export: 7 });
  assert.match(text, /^lost: export 7, ring full 3$/m);
  assert.match(
    text,
    /^overhead: predicted 1\.00 %.*\noverhead of looking again: predicted 2\.00 %/m,
  );
  assert.ok(exported.spans > 100 * 2 + 40 * 20, 'exported of both');
  assert.deepEqual([exported.flushes, exported.closed.length], [1, 1]);
});

test('where the closer look knows no more, the answer is the first one', async () => {
  const { answer, text } = await looks({ second: orders(false) });
  assert.deepEqual(
    [answer.report.verdict?.function, answer.report.verdict?.calls, answer.again?.answers],
    ['main.pay', null, false],
  );
  assert.match(text, /; it says no more, and the answer is of the first look$/m);
});

test('where nobody is blamed, the first look goes on to its end', async () => {
  const { answer, json, text, traced, exported } = await looks({ isFine: true });
  assert.deepEqual([traced.length, answer.again, json['lookedAgain']], [1, null, null]);
  assert.ok(!text.includes('again'));
  assert.deepEqual([exported.flushes, exported.closed.length], [1, 1]);
});

test('functions with an argument that was asked for are looked at again', async () => {
  const named = await looks({ args: ['order.Customer'] });
  assert.ok(named.traced[1]?.symbols.includes('main.idle'));
  const all = await looks({ args: ['*'] });
  assert.ok(!all.traced[1]?.symbols.includes('main.idle'));
});

test('a program that ends, or an interrupt, ends either look, and there is an answer', async () => {
  for (const world of [{ endsIn: 1 }, { interruptedIn: 1 }] as const) {
    const { answer, traced, exported } = await looks(world);
    assert.deepEqual([traced.length, answer.report.verdict?.function], [1, 'main.pay']);
    assert.deepEqual([exported.flushes, exported.closed.length], [1, 1]);
  }
  for (const world of [{ endsIn: 2 }, { interruptedIn: 2 }] as const) {
    const { answer, traced, exported } = await looks(world);
    assert.deepEqual([traced.length, answer.again?.answers], [2, true]);
    assert.deepEqual([exported.flushes, exported.closed.length], [1, 1]);
  }
});

test('where the closer look cannot begin, the first one answers', async () => {
  const gone = new UnderspanError('not-found', 'NO_PROCESS', 'no process 42');
  const failed = await looks({ second: gone });
  assert.match(failed.stderr, /could not look again: no process 42/);
  const interrupted = await looks({ interruptedIn: 'between' });
  assert.equal(interrupted.traced.length, 1);
  for (const { answer, exported, json } of [failed, interrupted]) {
    assert.deepEqual([answer.again, answer.report.verdict?.function], [null, 'main.pay']);
    assert.deepEqual([exported.flushes, exported.closed.length], [1, 1]);
    assert.deepEqual(json['lost'], { ringFull: 1, export: 7 });
  }
});
