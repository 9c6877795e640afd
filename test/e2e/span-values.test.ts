/** Spans counted by what the program's own spans say: compared with what the shop logged of itself. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { inFolder } from '../tools/folder.js';
import { LONG, order, type Order, traceUnended } from '../tools/orders.js';
import { type ExpectedCall, expectedCalls } from '../tools/parents.js';
import { sleep } from '../tools/process.js';
import { requireBpf } from '../tools/require.js';
import { Shop } from '../tools/shop.js';
import { trace, Tracer } from '../tools/tracer.js';
import { plainName, Truth, type TruthSpan } from '../tools/truth.js';

/** Wrappers that the compiler makes, of which the shop knows nothing. */
const NOT_LOGGED = /\.deferwrap\d+$|^main\.main$|^main\.\(\*Cart\)\.Total$/;

/** By its value: how many requests, and how many calls of each function. */
type Table = Record<string, { requests: number; functions: Record<string, number> }>;

const ordersOf = (customer: string, count: number, lines: number): Order[] =>
  Array.from({ length: count }, () => ({ customer, lines }));
const ORDERS = [
  ...ordersOf('acme', 7, 1),
  ...ordersOf('globex', 5, 3),
  ...ordersOf('(none)', 2, 2),
  ...ordersOf(LONG, 3, 2),
];

/** Customers, by the trace ids of their orders. */
async function orderAll(shop: Shop, orders: readonly Order[]): Promise<Map<string, string>> {
  const customers = new Map<string, string>();
  await Promise.all(
    orders.map(async (each) => customers.set(await order(shop, each), each.customer)),
  );
  // A request's own span ends after its answer.
  await shop.counters();
  return customers;
}

/** Until no call runs on that the shop logs. */
async function quiet(shop: Shop, log: string, since: bigint): Promise<void> {
  for (const deadline = Date.now() + 30_000; Date.now() < deadline; await sleep(50)) {
    await shop.flush();
    const calls = [...(await Truth.read(log)).calls.values()];
    if (!calls.some(({ time, end }) => time >= since && end === null)) return;
  }
  throw new Error('the shop is never quiet');
}

/** `valueOf`: what a span says, "none" where it says nothing. */
function expectedTable(
  truth: Truth,
  calls: readonly ExpectedCall[],
  valueOf: (span: TruthSpan) => string,
): Table {
  const table: Table = {};
  const requests = new Map<string, Set<unknown>>();
  for (const call of calls) {
    let top = call;
    while (top.parent.kind === 'call') top = top.parent.call;
    const chain: TruthSpan[] = [];
    let id = top.parent.kind === 'span' ? top.parent.id : null;
    for (let span; id !== null && (span = truth.spans.get(id)); id = span.parent) chain.push(span);
    const values = chain.map(valueOf);
    const value = values.find((each) => each !== 'none') ?? 'none';
    const row = (table[value] ??= { requests: 0, functions: {} });
    const name = plainName(call.call.function);
    row.functions[name] = (row.functions[name] ?? 0) + 1;
    const counted = requests.get(value) ?? new Set();
    requests.set(value, counted.add(chain[values.lastIndexOf(value)] ?? top));
    row.requests = counted.size;
  }
  return table;
}

function toldTable(tracer: Tracer): Table {
  const rows = tracer.result.by?.values ?? [];
  return Object.fromEntries(
    rows.map(({ kind, value, requests, functions }) => {
      const counted = functions
        .map(({ name, calls }) => [plainName(name), calls] as const)
        .filter(([name]) => !NOT_LOGGED.test(name));
      return [
        kind === 'value' ? `=${String(value)}` : kind,
        { requests, functions: Object.fromEntries(counted) },
      ];
    }),
  );
}

async function compare(
  key: string,
  valueOf: (span: TruthSpan, customers: ReadonlyMap<string, string>) => string,
  orders: readonly Order[],
  env: Record<string, string> = {},
): Promise<void> {
  await inFolder(async (folder) => {
    const log = join(folder, 'truth.jsonl');
    const shop = await Shop.start({ truth: log, env });
    let tracer: Tracer | undefined;
    try {
      tracer = await Tracer.attach(['--pid', String(shop.pid), '--by', key, 'main.*']);
      const since = BigInt(Date.now()) * 1_000_000n;
      const customers = await orderAll(shop, orders);
      await quiet(shop, log, since);
      assert.equal(await tracer.stop(), 0, tracer.stderr);
      await shop.flush();
      const truth = await Truth.read(log);
      const traced = new Set(tracer.result.functions.map(({ name }) => plainName(name)));
      const { by, lost } = tracer.result;
      const sent = tracer.spans.length;
      const counted = (by?.values ?? []).flatMap(({ functions }) => functions);
      assert.equal(
        counted.reduce((sum, { calls }) => sum + calls, 0),
        sent,
        JSON.stringify(lost),
      );
      assert.equal(by?.key, key);
      const calls = expectedCalls(truth, { traced, since });
      const expected = expectedTable(truth, calls, (span) => valueOf(span, customers));
      assert.deepEqual(toldTable(tracer), expected, JSON.stringify(lost));
    } finally {
      tracer?.child.kill('SIGKILL');
      await shop.stop();
    }
  });
}

const customerOf = ({ name, trace }: TruthSpan, customers: ReadonlyMap<string, string>): string => {
  if (name !== 'place order') return 'none';
  const customer = customers.get(trace) ?? '';
  return customer === LONG ? 'unknown' : `=${customer}`;
};

test('by an attribute', async (t) => {
  if (!requireBpf(t)) return;
  await compare('span.attr.shop.customer', customerOf, ORDERS);
});

test('by an attribute, while calls around run on for seconds', async (t) => {
  if (!requireBpf(t)) return;
  const orders = [...ordersOf('acme', 2, 1), ...ordersOf('globex', 3, 1)];
  await compare('span.attr.shop.customer', customerOf, orders, { SHOP_IO: '900ms' });
});

test('by name: that of the innermost span', async (t) => {
  if (!requireBpf(t)) return;
  await compare('span.name', ({ name }) => `=${name}`, ORDERS);
});

test('of trees that a condition keeps', async (t) => {
  if (!requireBpf(t)) return;
  const shop = await Shop.start();
  try {
    const tracer = await Tracer.attach([
      ...['--pid', String(shop.pid), 'main.*', '--by', 'span.attr.shop.order.number'],
      ...['--where', 'span.attr.shop.customer == "acme"'],
    ]);
    for (const customer of ['acme', 'globex', 'acme', 'globex', 'acme']) {
      await orderAll(shop, [{ customer, lines: 2 }]);
    }
    assert.equal(await tracer.stop(), 0, tracer.stderr);
    const { by, lost } = tracer.result;
    const values = by?.values ?? [];
    const takes = values.map(({ value, requests, functions }) => {
      const take = functions.find(({ name }) => name === 'main.(*Stock).take');
      return [value, requests, take?.calls];
    });
    const wanted = [1, 3, 5].map((number) => [number, 1, 2]);
    assert.deepEqual(takes.sort(), wanted, JSON.stringify(lost));
    const calls = values.flatMap(({ functions }) => functions.map((each) => each.calls));
    assert.equal(
      calls.reduce((sum, each) => sum + each, 0),
      tracer.spans.length,
    );
  } finally {
    await shop.stop();
  }
});

test('calls beneath a span that does not end are unknown', async (t) => {
  if (!requireBpf(t)) return;
  const tracer = await traceUnended(['--by', 'span.attr.shop.customer']);
  assert.equal(tracer.spans.length, 1, 'it did not wait');
  assert.deepEqual(toldTable(tracer), {
    unknown: { requests: 1, functions: { 'main.parseOrder': 1 } },
  });
});

test('what cannot be counted by is refused before anything is attached', async (t) => {
  if (!requireBpf(t)) return;
  const pid = ['--pid', String(process.pid)];
  for (const [args, said] of [
    [['--by', 'tenant.id'], /'tenant\.id' is nothing that spans say.*\n.*span\.attr\.tenant\.id/s],
    [['--by', 'span.name', '--by', 'span.status'], /--by <key>.*given once/],
    [['--by', 'span.attr.api.token'], /a name whose values are hidden.*--no-redact/s],
    [['--by', 'span.name', '--entry-only'], /leave out --by or --entry-only/],
  ] as const) {
    const { status, stderr } = await trace(['attach', ...pid, ...args, 'main']);
    assert.equal(status, 2, stderr);
    assert.match(stderr, said);
  }
});
