/** What the program's own spans say when they end decides which trees are kept. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type BuildOptions, buildTarget } from '../tools/go.js';
import { LONG, order, traceUnended } from '../tools/orders.js';
import { requireBpf } from '../tools/require.js';
import { Shop } from '../tools/shop.js';
import { totalLost, Tracer } from '../tools/tracer.js';

const ORDERS = 20;

/** Trace ids of orders, by number from 1: the odd ones are acme's. */
async function orderAll(shop: Shop): Promise<string[]> {
  const traces = [''];
  for (let number = 1; number <= ORDERS; number++) {
    traces.push(await order(shop, { customer: number % 2 === 1 ? 'acme' : LONG, lines: 1 }));
  }
  return traces;
}

const numbers = (wanted: (number: number) => boolean): number[] =>
  Array.from({ length: ORDERS }, (_, index) => index + 1).filter(wanted);
const all = numbers(() => true);
const acme = numbers((number) => number % 2 === 1);

const CASES: [string[], number[]][] = [
  [['--span', 'POST /order'], all],
  [['--span', '/^(PUT|POST) /'], all],
  [['--span', 'GET *'], []],
  [['--span', 'place order'], all],
  [['--where', 'span.attr.shop.customer == "acme"'], acme],
  [['--where', 'span.attr.shop.customer != "acme"'], all.filter((each) => !acme.includes(each))],
  [['--where', 'span.attr.shop.order.number <= 5'], numbers((number) => number <= 5)],
  [
    ['--where', 'span.attr.shop.order.number > 5', '--where', 'span.attr.shop.customer == "acme"'],
    numbers((number) => number > 5 && number % 2 === 1),
  ],
  [['--span', 'POST /order', '--where', 'span.attr.shop.customer == "acme"'], []],
  // Every tenth is declined.
  [
    ['--where', 'span.status == error', '--span', 'place*'],
    [10, 20],
  ],
  [['--where', 'span.attr.nothing == 1'], []],
];

async function check(args: string[], wanted: number[], build: BuildOptions): Promise<void> {
  const shop = await Shop.start({ build });
  try {
    const tracer = await Tracer.attach(['--pid', String(shop.pid), 'main.*', ...args]);
    const traces = await orderAll(shop);
    // The last request's own span ends after its answer.
    await shop.counters();
    assert.equal(await tracer.stop(), 0, tracer.stderr);
    const what = `${args.join(' ')}: ${JSON.stringify(tracer.result.lost)}`;
    const kept = new Set(tracer.spans.map(({ traceId }) => traceId));
    const found = [...kept].map((traceId) => traces.indexOf(traceId)).sort((a, b) => a - b);
    assert.deepEqual(found, wanted, what);
    const takes = tracer.spans.filter(({ name }) => name === 'main.(*Stock).take');
    assert.equal(takes.length, wanted.length, what);
    const calls = tracer.result.functions.reduce((sum, each) => sum + each.calls, 0);
    assert.equal(tracer.spans.length + totalLost(tracer.result), calls, what);
    assert.ok((tracer.result.lost['filtered'] ?? 0) > 0 || wanted === all, what);
  } finally {
    await shop.stop();
  }
}

for (const [name, build] of [
  ['with DWARF', {}],
  ['without DWARF', { flags: ['-ldflags=-s -w'] }],
] as [string, BuildOptions][]) {
  test(`names, status and attributes of spans, ${name}`, async (t) => {
    if (!requireBpf(t)) return;
    for (const [args, wanted] of CASES) await check(args, wanted, build);
  });
}

test('a span that does not end leaves its trees undecided', async (t) => {
  if (!requireBpf(t)) return;
  const tracer = await traceUnended(['--span', '*']);
  assert.equal(tracer.spans.length, 0);
  assert.equal(tracer.result.lost['undecided'], 1);
});

test('where no span is seen to end, that is told', async (t) => {
  if (!requireBpf(t)) return;
  const command = [await buildTarget('leaves'), '10'];
  const tracer = Tracer.start(['--where', 'span.status == error', 'main.*', '--', ...command]);
  assert.equal(await tracer.ended(), 0, tracer.stderr);
  const told = tracer.notices.filter(({ code }) => code === 'SPANS_NOT_SEEN');
  assert.equal(told.length, 1, tracer.stderr);
  assert.equal(tracer.spans.length, 0);
  const calls = tracer.result.functions.reduce((sum, each) => sum + each.calls, 0);
  assert.ok(calls > 0);
  assert.equal(totalLost(tracer.result), calls);
});
