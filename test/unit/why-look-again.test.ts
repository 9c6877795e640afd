import assert from 'node:assert/strict';
import { test } from 'node:test';
import { closeKept, KeptOpen } from '../../src/sinks/kept-open.js';
import type { Sink, Summary } from '../../src/sinks/sink.js';
import type { FunctionSpan } from '../../src/spans/span.js';
import type { WhyReport } from '../../src/why/analysis.js';
import {
  closerLook,
  closerMs,
  type Closer,
  type FirstLook,
  saysMore,
} from '../../src/why/look-again.js';
import type { CalledFunction } from '../../src/why/narrow.js';

const called = (name: string, callsPerSecond: number): CalledFunction => ({
  name,
  callsPerSecond,
  callNs: 10_000,
});
const PATH = ['GET /order', 'main.serve', 'main.pay'];
const SEEN = [called('main.serve', 100), called('main.pay', 100), called('main.other', 100)];
const QUERY = called('main.query', 1_000);
const TICK = called('main.tick', 100_000);

const reported = (changes: object = {}): WhyReport =>
  ({
    request: 'GET /order',
    verdict: { function: 'main.pay', reason: 'running', by: null, calls: null },
    nothing: null,
    suspect: null,
    path: PATH.map((name) => ({ name })),
    ...changes,
  }) as WhyReport;

const looked = (report: object = {}, first: Partial<FirstLook> = {}): FirstLook => ({
  report: reported(report),
  called: [...SEEN, QUERY, TICK],
  leftOut: [TICK, QUERY],
  kept: new Set(),
  budget: 0.02,
  ...first,
});
const nobody = (nothing: string, agree = 10): object => ({
  verdict: null,
  nothing,
  suspect: { function: 'main.pay', agree, of: 20 },
});

test('a closer look is at the path and at what was left out, as far as the budget pays for it', () => {
  assert.deepEqual(closerLook(looked()), {
    request: 'GET /order',
    functions: ['main.serve', 'main.pay', 'main.query'],
    added: ['main.query'],
    leftOut: [TICK],
  });
  const all = closerLook(looked({}, { budget: 2 }));
  assert.deepEqual(all?.added, ['main.tick', 'main.query']);
  assert.deepEqual(all.leftOut, []);
});

test('what is on the path is paid for first', () => {
  // The path takes 0.2 % of a CPU, and what was left out 1 %.
  const leftOut = [QUERY];
  assert.deepEqual(closerLook(looked({}, { leftOut, budget: 0.0125 }))?.added, ['main.query']);
  assert.equal(closerLook(looked({}, { leftOut, budget: 0.0115 })), null);
});

test('whoever is named is looked at, and what tells requests apart', () => {
  const by = { function: 'main.other', traceId: null };
  const verdict = { function: 'main.pay', reason: 'mutex', by, calls: null };
  assert.ok(closerLook(looked({ verdict }))?.functions.includes('main.other'));
  const kept = new Set(['main.other']);
  assert.ok(closerLook(looked({}, { kept }))?.functions.includes('main.other'));
  const path = [{ name: 'GET /order' }];
  assert.deepEqual(closerLook(looked({ path }))?.functions, ['main.pay', 'main.query']);
});

test('there is no closer look where it can find nothing', () => {
  assert.equal(closerLook(looked({}, { leftOut: [] })), null);
  const calls = { function: 'main.other', slow: 40, normal: 1 };
  const verdict = { function: 'main.pay', reason: 'calls', by: null, calls };
  assert.equal(closerLook(looked({ verdict })), null, 'the answer is as close as can be');
  for (const nothing of ['few', 'alike', 'cpu']) {
    assert.equal(closerLook(looked(nobody(nothing))), null, nothing);
  }
  assert.equal(closerLook(looked(nobody('scattered', 9))), null, 'time is lost anywhere');
  assert.equal(closerLook(looked({ ...nobody('scattered'), suspect: null })), null);
});

test('there is one where time is lost, and nobody is blamed for it', () => {
  assert.ok(closerLook(looked(nobody('scattered', 10))));
  assert.ok(closerLook(looked(nobody('outside', 7))));
});

test('a third of the duration is for it, and more of a short one', () => {
  assert.equal(closerMs(30_000), 10_000);
  assert.equal(closerMs(5_000), 2_000);
  assert.equal(closerMs(3_000), 1_500);
});

test('the closer look answers where it blames what had been left out', () => {
  const closer = { added: ['main.query'] } as Closer;
  const blaming = (name: string, calls: string | null = null): object => ({
    verdict: { function: name, calls: calls && { function: calls, slow: 40, normal: 1 } },
  });
  const answers = (again: object): boolean => saysMore(reported(), reported(again), closer);
  assert.equal(answers(blaming('main.query')), true);
  assert.equal(answers(blaming('main.pay', 'main.query')), true);
  assert.equal(answers(blaming('main.pay')), false);
  assert.equal(answers(blaming('main.serve', 'main.pay')), false);
  assert.equal(answers({ verdict: null }), false);
  assert.equal(answers({ ...blaming('main.query'), request: 'GET /audit' }), false);
});

const SUMMARY = { lost: { ringFull: 3 }, functions: [] } as unknown as Summary;

class Recording implements Sink {
  readonly did: string[] = [];
  summary: Summary | null = null;
  programSpans?: NonNullable<Sink['programSpans']>;

  spans(): void {
    this.did.push('spans');
  }

  notice(): void {
    this.did.push('notice');
  }

  async flush(): Promise<void> {
    this.did.push('flush');
  }

  lost(): Record<string, number> {
    return { export: 2, ringFull: 1 };
  }

  async close(summary: Summary): Promise<void> {
    this.did.push('close');
    this.summary = summary;
  }
}

/** What a trace does with a sink, from its first span to its end. */
async function traced(sink: Sink): Promise<void> {
  sink.spans([] as FunctionSpan[]);
  sink.notice?.({ code: 'A', message: 'a' });
  await sink.flush?.(10);
  await sink.close(SUMMARY);
}

test('a sink that another trace goes on with stays open, and answers for its losses once', async () => {
  const sink = new Recording();
  const kept = new KeptOpen(sink, () => true);
  await traced(kept);
  assert.deepEqual(sink.did, ['spans', 'notice']);
  assert.deepEqual(kept.lost(), {});
  const { lost } = await closeKept([sink], SUMMARY, 10);
  assert.deepEqual(sink.did, ['spans', 'notice', 'flush', 'close']);
  assert.deepEqual(lost, { ringFull: 4, export: 2 });
  assert.deepEqual(sink.summary?.lost, lost);
});

test('a sink that no other trace goes on with ends with this one', async () => {
  const sink = new Recording();
  const kept = new KeptOpen(sink, () => false);
  await traced(kept);
  assert.deepEqual(sink.did, ['spans', 'notice', 'flush', 'close']);
  assert.deepEqual(kept.lost(), { export: 2, ringFull: 1 });
});

test('the program’s spans are asked for only where the sink wants them', () => {
  assert.equal(new KeptOpen(new Recording(), () => true).programSpans, undefined);
  const sink = new Recording();
  let got = 0;
  sink.programSpans = (batch): void => void (got += batch.length);
  new KeptOpen(sink, () => true).programSpans?.([{} as never]);
  assert.equal(got, 1);
});
