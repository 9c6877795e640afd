import assert from 'node:assert/strict';
import { type Account, accountOf } from './account.js';
import { AgentProcess } from './agent.js';
import { type LoadResult, runLoad } from './load.js';
import { sleep } from './process.js';
import { Shop } from './shop.js';

export interface TracedShopOptions {
  /** Of the Collector. */
  endpoint: string;
  queueSize?: string;
  /** Size of the spool, which is in the folder; none: there is no spool. */
  spool?: string;
  env?: Record<string, string>;
}

let shops = 0;

/** A shop that an agent traces. `folder` is the agent's. */
export class TracedShop {
  private constructor(
    readonly shop: Shop,
    public agent: AgentProcess,
    private readonly before: number,
  ) {}

  static async start(folder: string, options: TracedShopOptions): Promise<TracedShop> {
    const { endpoint, queueSize, spool, env = {} } = options;
    // Other tests' shops run the same binary.
    const serviceName = `shop-${process.pid}-${++shops}`;
    const shop = await Shop.start({ serviceName });
    try {
      const before = await ownCalls(shop);
      const agent = await AgentProcess.start(folder, {
        env,
        config: {
          rules: [
            {
              name: 'shop',
              select: { executable: shop.binary, service: serviceName },
              trace: { symbols: 'main.*', maxRate: 0, fold: 0, maxOverhead: '100%' },
            },
          ],
          export: {
            otlp: { endpoint },
            ...(queueSize === undefined ? {} : { queueSize }),
            ...(spool === undefined
              ? {}
              : { spool: { directory: `${folder}/spool`, size: spool } }),
          },
          // Rings are not what is tested.
          limits: { ringSize: '64MiB' },
        },
      });
      return new TracedShop(shop, agent, before);
    } catch (error) {
      await shop.stop();
      throw error;
    }
  }

  /** No request may fail. */
  async order(rate: number, seconds: number, concurrency = 8): Promise<LoadResult> {
    const result = await runLoad({
      urls: [`${this.shop.url}/order`],
      requests: rate * seconds,
      rate,
      concurrency,
    });
    assert.equal(result.failures, 0, result.firstFailure ?? '');
    return result;
  }

  /** Calls that it has made since it is traced, by its own count. */
  async own(): Promise<number> {
    return (await ownCalls(this.shop)) - this.before;
  }

  async account(): Promise<Account> {
    return accountOf(await this.agent.metrics());
  }

  /**
   * When nothing is under way any more: the shop's own count is the agent's, and each call is
   * delivered or lost.
   */
  async settled(ms = 30_000): Promise<Account> {
    for (const deadline = Date.now() + ms; ; await sleep(100)) {
      const own = await this.own();
      const account = await this.account();
      const { calls, delivered, allLost, waiting } = account;
      if (own === calls && waiting === 0 && delivered + allLost === calls) return account;
      assert.ok(
        Date.now() < deadline,
        `${own} calls: ${JSON.stringify(account)}\n${this.agent.process.output}`,
      );
    }
  }

  async stop(): Promise<void> {
    await this.agent.process.stop('SIGKILL');
    await this.shop.stop();
  }
}

async function ownCalls(shop: Shop): Promise<number> {
  const { calls } = await shop.counters();
  return Object.entries(calls)
    .filter(([name]) => name.startsWith('main.'))
    .reduce((sum, [, count]) => sum + count, 0);
}
