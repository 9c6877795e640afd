/** A real Prometheus reads what the agent serves. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AgentHttp } from '../../src/agent/http.js';
import { createLog } from '../../src/agent/log.js';
import { AgentMetrics } from '../../src/agent/metrics.js';
import { Exemplars } from '../../src/agent/metrics/exemplars.js';
import type { AgentSnapshot } from '../../src/agent/snapshot.js';
import { inFolder } from '../tools/folder.js';
import { Prometheus } from '../tools/prometheus.js';
import { checkMetrics } from '../tools/promtool.js';
import { emptySnapshot, functionSnapshot, functionSpan, UNGOVERNED } from '../tools/snapshot.js';

/** An agent whose functions are called ten times more with each scrape. */
class GrowingAgent {
  readonly exemplars = new Exemplars();
  readonly durations: number[] = [];
  readonly traceIds = new Set<string>();
  private scrapes = 0;

  readonly metrics = new AgentMetrics({
    snapshot: () => this.snapshot(),
    version: '1.2.3',
    maxSeries: 100,
    exemplars: this.exemplars,
  });

  private snapshot(): AgentSnapshot {
    this.scrapes++;
    const durations = Array.from({ length: 10 }, (_, n) => (n + 1) * 1_000_000);
    this.durations.push(...durations);
    const spans = durations.map((duration) => functionSpan(1, duration));
    for (const { traceId } of spans) this.traceIds.add(traceId);
    this.exemplars.spans(spans);
    return {
      ...emptySnapshot(),
      functions: [
        functionSnapshot({}, this.durations, this.scrapes),
        functionSnapshot({ name: 'main.(*Order).Confirm["a"\\b]\n', index: 2 }, [1_000]),
      ],
      http: [
        {
          rule: 'shop',
          executable: '/app/shop',
          route: '/orders',
          method: '',
          status: 0,
          buckets: [0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1].map((n) => n * this.scrapes),
          sumNs: 20_000_000_000 * this.scrapes,
        },
      ],
      lost: { rate: this.scrapes },
      rules: [
        { name: 'shop', state: 'ready', problem: null, maxOverhead: 0.05, governed: UNGOVERNED },
      ],
    };
  }
}

async function serve(agent: GrowingAgent): Promise<AgentHttp> {
  return AgentHttp.start({
    listen: { host: '127.0.0.1', port: 0 },
    metrics: agent.metrics,
    health: () => ({ ok: true, problem: null }),
    rules: () => [],
    log: createLog({ level: 'warn', version: '1.2.3' }),
  });
}

test('Prometheus reads counters, quantiles and exemplars', async () => {
  await inFolder(async (folder) => {
    const agent = new GrowingAgent();
    const http = await serve(agent);
    const target = `127.0.0.1:${http.address.port}`;
    const prometheus = await Prometheus.start(folder, { targets: { underspan: [target] } });
    try {
      const calls = 'underspan_function_calls_total{function="main.work"}';
      const [counted] = await prometheus.until(calls, ([series]) => (series?.value ?? 0) >= 50);
      assert.equal(counted?.labels['rule'], 'shop');
      assert.equal((counted?.value ?? 0) % 10, 0);
      assert.deepEqual(Object.values(await prometheus.scrapeErrors()), ['']);

      const one = async (expression: string): Promise<number> => {
        const [series, ...more] = await prometheus.query(expression);
        assert.equal(more.length, 0, expression);
        assert.ok(series, expression);
        return series.value;
      };
      assert.ok((await one(`rate(${calls}[1m])`)) > 0);
      assert.equal(
        await one('sum(underspan_function_errors_total) / sum(underspan_lost_calls_total)'),
        1,
      );
      assert.equal(await one('underspan_rule_ready'), 1);
      assert.equal(
        await one(
          'count(underspan_function_calls_total{function="main.(*Order).Confirm[\\"a\\"\\\\b]\\n"})',
        ),
        1,
      );

      const duration = 'underspan_function_duration_seconds';
      const work = '{function="main.work"}';
      const median = await one(`histogram_quantile(0.5, ${duration}_bucket${work})`);
      // Of 1 to 10 ms the fifth is in the bucket from 4.194304 to 8.388608 ms.
      assert.ok(median > 0.004194304 && median <= 0.008388608, `median ${median}`);
      const mean = await one(`${duration}_sum${work} / ${duration}_count${work}`);
      assert.ok(Math.abs(mean - 0.0055) < 1e-9, `mean ${mean}`);
      const requests = 'http_server_request_duration_seconds';
      assert.equal(
        await one(`${requests}_bucket{le="0.01"} / ignoring(le) ${requests}_bucket{le="+Inf"}`),
        0.8,
      );

      const exemplars = await prometheus.exemplars(`${duration}_bucket${work}`);
      assert.ok(exemplars.length >= 5, `${exemplars.length} exemplars`);
      for (const { series, labels, value } of exemplars) {
        assert.ok(agent.traceIds.has(labels['trace_id'] ?? ''));
        const bound = Number(series['le']);
        assert.ok(value <= bound && value > bound / 2, `${value} at ${bound}`);
      }
    } finally {
      await prometheus.stop();
      await http.close();
    }
  });
});

test('promtool finds nothing wrong with the metrics', async () => {
  const { body } = await new GrowingAgent().metrics.render();
  const { ok, output } = await checkMetrics(body);
  assert.ok(ok, output);
});
