/**
 * A shop under load, an agent that traces it, a Collector and a Prometheus: made so that everything
 * that the agent measures happens. What happened is told by the shop, by whoever asked it and by
 * the Collector.
 */
import { join } from 'node:path';
import { AgentProcess, until } from './agent.js';
import { Answers } from './answers.js';
import { Collector, freePort } from './collector.js';
import { buildTarget, projectRoot } from './go.js';
import { runLoad } from './load.js';
import { sleep } from './process.js';
import { Prometheus } from './prometheus.js';
import { Shop } from './shop.js';

/** What a cluster adds to every target that is scraped. */
export const LABELS = { namespace: 'observability', node: 'node-1' };

export const ALERTS = join(projectRoot, 'dashboards/alerts.yaml');

const ORDER = 'main.(*OrderHandler).ServeHTTP';

/** Other shops may run on the host. */
const SERVICE = `shop-${process.pid}`;

interface Executables {
  canary: string;
  /** Whose calls cost more than its budget. */
  strained: string;
  /** Whose probes are taken back. */
  leaving: string;
  /** In which there is nothing of what is asked for. */
  unready: string;
}

const configuration = (
  folder: string,
  collector: string,
  { canary, strained, leaving, unready }: Executables,
): object => ({
  rules: [
    {
      name: 'checkout-canary',
      select: { executable: canary },
      // A rate that loses calls.
      trace: { symbols: ['main.*'], roots: true, maxRate: 1, maxOverhead: '100%' },
      http: [{ symbol: 'main.(*Plain).ServeHTTP', route: '/order' }],
    },
    {
      name: 'strained',
      select: { executable: strained },
      trace: { symbols: ['main.*'], maxOverhead: '0.00001%' },
    },
    {
      name: 'checkout',
      select: { service: SERVICE },
      trace: {
        // The shop never calls the second, and of the third nothing can carry a probe.
        symbols: ['main.*', 'math/big.*', 'net/http.fakeLocker.*'],
        waits: true,
        gc: true,
        allocations: true,
        maxRate: 0,
        maxOverhead: '100%',
      },
      http: [{ symbol: ORDER, route: '/order' }],
    },
    {
      name: 'leaving',
      select: { executable: leaving },
      trace: { symbols: ['main.*'], maxOverhead: '5%' },
    },
    {
      name: 'unready',
      select: { executable: unready },
      trace: { symbols: ['main.noSuch*'], maxOverhead: '5%' },
    },
  ],
  export: {
    otlp: { endpoint: collector },
    // Small enough that an outage of some seconds fills both.
    queueSize: '1MiB',
    spool: { directory: join(folder, 'spool'), size: '1MiB' },
  },
  limits: { idle: '1s', ringSize: '64KiB', maxOverhead: '90%' },
});

/** All functions of the shop come to 100 series or less; those of math/big are beyond. */
const MAX_SERIES = 120;

export class Scene {
  /** Answers of the shop's /order, and of the canary, by status, since the measuring began. */
  readonly orders: Record<string, number> = {};
  readonly canaried: Record<string, number> = {};
  readonly traceIds = new Set<string>();
  /** Of the longest order, in seconds. */
  longest = 0;
  panics = 0;
  readonly maxSeries = MAX_SERIES;
  private strained: Answers | null = null;
  /** Sites of the executable that left, as the agent said while they were there. */
  sitesOfLeft = 0;
  /** What the shop had counted when the measuring began, and at the end. */
  before: Record<string, number> = {};
  calls: Record<string, number> = {};
  beganAt = 0;
  endedAt = 0;

  private constructor(
    readonly collector: Collector,
    readonly shop: Shop,
    readonly canary: Answers,
    readonly agent: AgentProcess,
    readonly prometheus: Prometheus,
    readonly narrow: string,
    private readonly leaving: Answers,
  ) {}

  /** Everything runs, and was scraped before anything happened. */
  static async open(folder: string): Promise<Scene> {
    const stop: (() => Promise<unknown>)[] = [];
    const began = async <T extends { stop(): Promise<unknown> }>(start: Promise<T>): Promise<T> => {
      const started = await start;
      stop.unshift(() => started.stop());
      return started;
    };
    try {
      const collector = await began(Collector.start(folder));
      const shop = await began(
        Shop.start({ otlpEndpoint: collector.endpoint, serviceName: SERVICE }),
      );
      const canary = await began(Answers.start(await buildTarget('http')));
      const narrow = await buildTarget('http', { flags: ['-ldflags=-w'] });
      const left = await buildTarget('http', { flags: ['-ldflags=-s -w'] });
      const leaving = await began(Answers.start(left));
      const config = configuration(folder, collector.endpoint, {
        canary: canary.binary,
        strained: narrow,
        leaving: left,
        unready: await Prometheus.binary(),
      });
      const metrics = { maxSeries: MAX_SERIES };
      const agent = await began(AgentProcess.start(folder, { config, metrics }));
      const prometheus = await began(
        Prometheus.start(folder, {
          // Another agent that does not answer.
          targets: {
            underspan: [`127.0.0.1:${agent.port}`, `127.0.0.1:${await freePort()}`],
          },
          labels: LABELS,
          rules: [ALERTS],
        }),
      );
      return new Scene(collector, shop, canary, agent, prometheus, narrow, leaving);
    } catch (error) {
      for (const each of stop) await each();
      throw error;
    }
  }

  /** Resolves once two scrapes have seen what is there now. */
  async scraped(): Promise<void> {
    for (let times = 0; times < 2; times++) {
      const now = Date.now() / 1e3;
      await this.prometheus.until(
        'timestamp(underspan_spans_total)',
        ([series]) => (series?.value ?? 0) > now,
      );
    }
  }

  /** Nothing is called any more, and all spans have gone where they go. */
  async quiet(): Promise<void> {
    let last = '';
    await until(
      'quiet',
      async () => {
        const { calls, spans } = await this.shop.counters();
        const text = await this.agent.metrics();
        const waiting = ['queue', 'spool'].map((place) =>
          text.value(`underspan_exporter_${place}_spans`),
        );
        const now = JSON.stringify([calls, spans.ended, text.value('underspan_spans_total')]);
        const same = now === last && waiting.every((count) => count === 0);
        last = now;
        // What has lost something is given up after some looks at it.
        await sleep(1_000);
        return same ? true : null;
      },
      60_000,
    );
  }

  /** A series of each status is there before: increase() misses what a series begins with. */
  async begin(): Promise<void> {
    await this.order(10);
    await this.malformed();
    await this.answer('/plain?how=body');
    await this.answer('/plain?how=status&status=500');
    for (const counts of [this.orders, this.canaried]) {
      for (const status of Object.keys(counts)) counts[status] = 0;
    }
    await this.quiet();
    await this.scraped();
    this.before = (await this.shop.counters()).calls;
    this.beganAt = Date.now();
    // Only now: whatever it does costs too much, and its probes would be taken back before.
    this.strained = await Answers.start(this.narrow);
    await until('strained', async () => {
      const text = await this.agent.metrics();
      return text.samples('underspan_targets', { rule: 'strained' }).length > 0 ? true : null;
    });
  }

  async end(): Promise<void> {
    await this.quiet();
    await this.scraped();
    this.calls = (await this.shop.counters()).calls;
    this.endedAt = Date.now();
  }

  async order(requests: number, rate = 200): Promise<void> {
    const load = await runLoad({
      urls: [`${this.shop.url}/order`, `${this.shop.url}/order?items=1`],
      requests,
      concurrency: 8,
      rate,
      accept: (status) => {
        this.orders[status] = (this.orders[status] ?? 0) + 1;
        return status < 500;
      },
    });
    if (load.failures > 0) throw new Error(`the shop failed: ${load.firstFailure}`);
    for (const traceId of load.traceIds) this.traceIds.add(traceId);
    this.longest = Math.max(this.longest, (load.latenciesMs.at(-1) ?? 0) / 1e3);
  }

  async malformed(): Promise<void> {
    const { status } = await this.get('/order', { method: 'POST', body: '{' });
    this.orders[status] = (this.orders[status] ?? 0) + 1;
  }

  async panic(n: number): Promise<void> {
    await this.get(`/panic?n=${n}`);
    this.panics += n;
  }

  /** Calls come faster than the ring is read. */
  async overrun(): Promise<void> {
    await until('overrun', async () => {
      await this.get('/burn?calls=20000&goroutines=4');
      const reason = { reason: 'ringFull' };
      return (await this.agent.metrics()).value('underspan_lost_calls_total', reason) || null;
    });
  }

  /** The canary, and whoever is strained by that. */
  async ask(path: string): Promise<void> {
    await this.answer(path);
    await this.strained?.ask(path);
  }

  /** One of the programs ends, and its probes are taken back. */
  async leave(): Promise<void> {
    const rule = { rule: 'leaving' };
    this.sitesOfLeft = (await this.agent.metrics()).value('underspan_probes_attached', rule);
    await this.leaving.stop();
    await until('taken back', async () => {
      const text = await this.agent.metrics();
      return text.samples('underspan_probes_attached', rule).length === 0 ? true : null;
    });
  }

  async close(): Promise<void> {
    await this.prometheus.stop();
    await this.agent.stop();
    const asked = [this.canary, this.strained, this.leaving];
    await Promise.all([this.shop, ...asked].map((each) => each?.stop()));
    await this.collector.stop();
  }

  /** The canary alone. */
  private async answer(path: string): Promise<void> {
    const status = await this.canary.ask(path);
    if (status === null) throw new Error('the canary failed');
    this.canaried[status] = (this.canaried[status] ?? 0) + 1;
  }

  private async get(path: string, how: RequestInit = {}): Promise<Response> {
    const response = await fetch(this.shop.url + path, how);
    await response.text();
    const traceId = response.headers.get('x-trace-id');
    if (traceId !== null) this.traceIds.add(traceId);
    return response;
  }
}
