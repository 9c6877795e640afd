/** Orders at the shop whose traces are told apart by their customers. */
import assert from 'node:assert/strict';
import { sleep } from './process.js';
import { Shop } from './shop.js';
import { Tracer } from './tracer.js';

export interface Order {
  customer: string;
  /** How many things are ordered. */
  lines: number;
}

/** A customer whose name is longer than texts that are read. */
export const LONG = `other-${'x'.repeat(80)}`;

/** Returns the trace id. The request's own span ends after its answer: see Shop.counters(). */
export async function order(shop: Shop, { customer, lines }: Order): Promise<string> {
  const line = { sku: 'tea', quantity: 1, price: 100 };
  const cart = { lines: Array.from({ length: lines }, () => line) };
  const response = await fetch(`${shop.url}/order`, {
    method: 'POST',
    body: JSON.stringify({ customer, card: '', cart }),
  });
  await response.arrayBuffer();
  return response.headers.get('x-trace-id') ?? '';
}

/** Traces main.parseOrder of one order, whose span has not ended when the tracer does. */
export async function traceUnended(args: readonly string[]): Promise<Tracer> {
  const shop = await Shop.start({ env: { SHOP_IO: '60s' } });
  try {
    const tracer = await Tracer.attach(['--pid', String(shop.pid), 'main.parseOrder', ...args]);
    const abort = new AbortController();
    const request = fetch(`${shop.url}/order`, { signal: abort.signal });
    const deadline = Date.now() + 30_000;
    // By then it has been parsed.
    while (!(await shop.counters()).calls['main.(*Stock).lookUp'] && Date.now() < deadline) {
      await sleep(10);
    }
    assert.equal(await tracer.stop(), 0, tracer.stderr);
    abort.abort();
    await request.catch(() => undefined);
    return tracer;
  } finally {
    await shop.process.stop('SIGKILL');
  }
}
