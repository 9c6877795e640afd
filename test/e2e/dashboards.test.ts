/**
 * A real Prometheus scrapes a real agent that traces a real shop: every query of the dashboards,
 * the alerts and the examples returns data, and where somebody else has counted the same, that.
 */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { dashboardQueries, type DashboardQuery } from '../tools/dashboards.js';
import { projectRoot } from '../tools/go.js';
import type { OtlpSpan } from '../tools/otlp.js';
import type { OpenMetricsText } from '../tools/openmetrics.js';
import type { PrometheusSeries } from '../tools/prometheus.js';
import { checkMetrics, promtool } from '../tools/promtool.js';
import { missingBpf } from '../tools/require.js';
import { ALERTS, LABELS, Scene } from '../tools/scene.js';
import { plainName } from '../tools/truth.js';

const PLACE_ORDER = 'main.(*Shop).PlaceOrder';
const REQUESTS = 'http_server_request_duration_seconds';

let folder: string;
let scene: Scene;
/** What the agent said itself at the end. */
let text: OpenMetricsText;
/** What the expression of UnderspanSpoolGrows gave while it did. */
const grown: PrometheusSeries[] = [];
/** Before the Collector went, by function: spans as the agent counts them, and those that came. */
let sent: Record<string, number>;
let received: Record<string, number>;

/** Of the measuring, with the last scrape before it. */
const seconds = (): number => (scene.endedAt - scene.beganAt) / 1e3 + 1;
const windowed = (): string => `${Math.round(seconds() * 1e3)}ms`;

interface Rule {
  alert: string;
  expr: string;
}

async function alerts(window: string): Promise<Rule[]> {
  const [document] = parseAllDocuments(await readFile(ALERTS, 'utf8'));
  const { groups } = document?.toJS() as { groups: { rules: Rule[] }[] };
  return groups
    .flatMap(({ rules }) => rules)
    .map(({ alert, expr }) => ({ alert, expr: expr.replace(/\[\d+m\]/g, `[${window}]`) }));
}

before(async () => {
  if (missingBpf()) return;
  folder = await mkdtemp(join(tmpdir(), 'underspan-test-'));
  scene = await Scene.open(folder);
  await scene.begin();
  await scene.order(300);
  for (let times = 0; times < 3; times++) await scene.malformed();
  for (let times = 0; times < 5; times++) await scene.panic(2);
  for (let times = 0; times < 40; times++) await scene.ask('/plain?how=body');
  for (let times = 0; times < 10; times++) await scene.ask('/plain?how=status&status=500');
  await scene.leave();
  await scene.quiet();
  sent = {};
  for (const { labels, value } of (await scene.agent.metrics()).samples(
    'underspan_function_spans_total',
  )) {
    if (value > 0) add(sent, labels['function'] ?? '', value);
  }
  received = {};
  const calls = (await ours()).filter(({ name }) => !name.startsWith('runtime.gc'));
  for (const { name } of calls) add(received, name, 1);
  await scene.collector.stop();
  const spool = (await alerts('2s')).find(({ alert }) => alert === 'UnderspanSpoolGrows');
  for (let times = 0; times < 20 && grown.length === 0; times++) {
    await scene.order(15, 20);
    grown.push(...(await scene.prometheus.query(spool?.expr ?? '')));
  }
  // More than finds room anywhere.
  await scene.order(400);
  await scene.overrun();
  await scene.collector.resume();
  await scene.end();
  text = await scene.agent.metrics();
});

after(async () => {
  if (missingBpf()) return;
  await scene.close();
  await rm(folder, { recursive: true });
});

function add(counts: Record<string, number>, key: string, count: number): void {
  counts[key] = (counts[key] ?? 0) + count;
}

/** Spans of ours that the Collector has. */
async function ours(): Promise<OtlpSpan[]> {
  const spans = await scene.collector.spans();
  return spans.filter(({ scope }) => scope.name === 'underspan');
}

const ask = (expr: string): Promise<PrometheusSeries[]> =>
  scene.prometheus.query(expr, scene.endedAt);

const sum = (counts: Iterable<number>): number => [...counts].reduce((a, b) => a + b, 0);

/** By one label, what was added while it was measured. */
async function added(selector: string, label: string): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const [at, sign] of [
    [scene.beganAt, -1],
    [scene.endedAt, 1],
  ] as const) {
    for (const { labels, value } of await scene.prometheus.query(selector, at)) {
      add(counts, plainName(labels[label] ?? ''), sign * value);
    }
  }
  return counts;
}

/** Calls of the shop's functions as it counted them itself. */
function counted(): Record<string, number> {
  return Object.fromEntries(
    Object.entries(scene.calls)
      .filter(([name]) => name.startsWith('main.'))
      .map(([name, count]) => [name, count - (scene.before[name] ?? 0)]),
  );
}

/** Of functions whose failures the shop's answers tell. */
function failed(): Record<string, number> {
  const unwound = ['attempt', 'prepare', 'prepare.func1', 'assemble'];
  return {
    [PLACE_ORDER]: scene.orders['402'] ?? 0,
    'main.parseOrder': scene.orders['400'] ?? 0,
    'main.explode': scene.panics,
    ...Object.fromEntries(unwound.map((name) => [`main.(*Shop).${name}`, scene.panics])),
  };
}

describe('counts', { skip: missingBpf() }, () => {
  test('reasons of losses are there before anything is lost', async () => {
    const losses = await readFile(join(projectRoot, 'docs/losses.md'), 'utf8');
    const known = [...losses.matchAll(/^\| `(\w+)` \|/gm)].map(([, reason]) => reason ?? '');
    // What has to do with standard output and an end is of `trace attach` alone.
    const expected = known.filter((reason) => reason !== 'output' && reason !== 'limit');
    const reasons = async (metric: string): Promise<string[]> =>
      (await scene.prometheus.query(metric, scene.beganAt)).map(
        ({ labels }) => labels['reason'] ?? '',
      );
    const lost = await reasons('underspan_lost_calls_total');
    assert.deepEqual(lost.sort(), expected.sort());
    const ofSinks = await reasons('underspan_exporter_lost_spans_total');
    assert.deepEqual(ofSinks.sort(), ['export', 'queue', 'spool', 'spoolCorrupt']);
  });

  test('calls of every function are those that the shop counted', async () => {
    const measured = await added('underspan_function_calls_total{rule="checkout"}', 'function');
    const known = counted();
    assert.ok(sum(Object.values(known)) > 20_000);
    for (const [name, count] of Object.entries(known)) {
      assert.equal(measured[name] ?? 0, count, name);
    }
  });

  test('errors are those that the shop answered with', async () => {
    assert.ok((scene.orders['402'] ?? 0) >= 70, JSON.stringify(scene.orders));
    assert.equal(scene.orders['400'], 3);
    const measured = await added('underspan_function_errors_total{rule="checkout"}', 'function');
    for (const [name, count] of Object.entries(failed())) assert.equal(measured[name], count, name);
  });

  test('requests by status are those that were answered', async () => {
    for (const [rule, answers] of [
      ['checkout', scene.orders],
      ['checkout-canary', scene.canaried],
    ] as const) {
      const selector = `${REQUESTS}_count{rule="${rule}",http_route="/order"}`;
      assert.deepEqual(await added(selector, 'http_response_status_code'), answers);
    }
    const posted = await added(`${REQUESTS}_count{rule="checkout"}`, 'http_request_method');
    assert.equal(posted['POST'], 3);
    assert.equal(posted['GET'], (counted()['main.(*OrderHandler).ServeHTTP'] ?? NaN) - 3);
  });

  test('every call is a span or a loss, and every span was delivered or is lost', async () => {
    const total = (name: string, labels = {}): number =>
      sum(text.samples(name, labels).map(({ value }) => value));
    const spans = text.value('underspan_spans_total');
    const bySink = total('underspan_exporter_lost_spans_total');
    const ofGc = text.value('underspan_gc_spans_total');
    assert.equal(
      spans - ofGc - bySink + total('underspan_lost_calls_total'),
      total('underspan_function_calls_total'),
    );
    assert.equal(total('underspan_function_spans_total') + ofGc, spans);
    const delivered = text.value('underspan_exporter_delivered_spans_total');
    assert.equal(delivered + bySink, spans);
    for (const reason of ['ringFull', 'rate', 'rootless', 'spool'])
      assert.ok(text.value('underspan_lost_calls_total', { reason }) > 0, reason);
    const repeated = text.value('underspan_exporter_repeated_spans_total');
    const { length } = await ours();
    assert.ok(length >= delivered && length <= delivered + repeated, `${length}, ${delivered}`);
  });

  test('spans of every function are those that came to the Collector', () => {
    assert.ok((sent[PLACE_ORDER] ?? 0) >= 200, `${sent[PLACE_ORDER]}`);
    assert.deepEqual(sent, received);
  });

  test('probes that were taken back', async () => {
    assert.ok(scene.sitesOfLeft > 0);
    const taken = await added('underspan_probes_detached_total', 'reason');
    assert.deepEqual(taken, { idle: scene.sitesOfLeft, 'file-changed': 0, crash: 0, reload: 0 });
  });
});

type Expected = (series: PrometheusSeries[]) => void;

/** By a label; the values are exact. */
function exactly(expected: Record<string, number>, label = ''): Expected {
  return (series) => {
    const found = series.map(({ labels, value }) => [plainName(labels[label] ?? ''), value]);
    assert.deepEqual(Object.fromEntries(found), expected);
  };
}

/**
 * Counts, where PromQL gives what was added, or its rate, up to the edges of its range: a scrape at
 * each may be extrapolated to. Others may be there too.
 */
function about(expected: Record<string, number>, label = '', unit = 1): Expected {
  return (series) => {
    for (const [key, count] of Object.entries(expected)) {
      const found = series.filter(({ labels }) => plainName(labels[label] ?? '') === key);
      assert.equal(found.length, 1, `${found.length} series of ${key}`);
      const value = (found[0]?.value ?? NaN) * unit;
      assert.ok(value >= count - 1e-6 && value <= 1.1 * count + 1e-6, `${key}: ${value}, ${count}`);
    }
  };
}

const rates = (expected: Record<string, number>, label = ''): Expected =>
  about(expected, label, seconds());

/** Quotients of what was extrapolated alike. */
function quotients(expected: Record<string, number>, label = ''): Expected {
  return (series) => {
    for (const [key, share] of Object.entries(expected)) {
      const found = series.find(({ labels }) => plainName(labels[label] ?? '') === key);
      const value = found?.value ?? NaN;
      assert.ok(Math.abs(value - share) <= 0.02 * share, `${key}: ${value}, ${share}`);
    }
  };
}

/** The largest, as topk() has them; equals are left out. */
function largest(counts: Record<string, number>, at = 10): Record<string, number> {
  const ordered = Object.entries(counts).sort(([, a], [, b]) => b - a);
  const least = ordered[at]?.[1] ?? 0;
  return Object.fromEntries(ordered.slice(0, at).filter(([, count]) => count > least));
}

/** What somebody else knows, by dashboard, panel and query. */
async function expectations(): Promise<Record<string, Expected>> {
  const calls = counted();
  const all = sum(Object.values(calls));
  const placed = calls[PLACE_ORDER] ?? NaN;
  const declined = scene.orders['402'] ?? NaN;
  const since = BigInt(scene.beganAt) * 1_000_000n;
  const arrived = (await ours()).filter(({ endTimeUnixNano }) => endTimeUnixNano >= since);
  const delivered = new Set(arrived.map(({ spanId }) => spanId)).size;
  const executable = scene.shop.binary;
  const byStatus = { ...scene.orders };
  const attached = (rule: string): number => text.value('underspan_functions_attached', { rule });
  const beyond = sum(['checkout', 'checkout-canary', 'strained'].map(attached)) - scene.maxSeries;
  const ratios = Object.fromEntries(
    Object.entries(failed()).map(([name, count]) => [name, count / (calls[name] ?? NaN)]),
  );
  return {
    'functions.json: Calls A': rates({ '': all }),
    'functions.json: Functions with probes A': exactly({ '': attached('checkout') }),
    'functions.json: Calls by function A': rates(largest(calls), 'function'),
    'functions.json: Error ratio by function A': quotients(largest(ratios, 6), 'function'),
    'functions.json: Top functions by total time B': about({ [PLACE_ORDER]: placed }, 'function'),
    'functions.json: Top functions by total time C': quotients(
      { [PLACE_ORDER]: declined / placed },
      'function',
    ),
    'functions.json: Most called functions A': about(largest(calls), 'function'),
    'functions.json: Requests by route A': rates(byStatus, 'http_response_status_code'),

    'function.json: Calls A': rates({ '': placed }),
    'function.json: Error ratio A': quotients({ '': declined / placed }),
    'function.json: Calls and errors A': rates({ '': placed }),
    'function.json: Calls and errors B': rates({ '': declined }),
    'function.json: Distribution of durations A': about({ '+Inf': placed }, 'le'),
    'function.json: Calls by executable A': rates({ [executable]: placed }, 'executable'),
    'function.json: Calls by agent A': rates({ [LABELS.node]: placed }, 'node'),
    'function.json: Calls that ended A': quotients({ '': 1 }),
    'function.json: Spans kept against calls B': rates({ '': placed }),

    'cost.json: HTTP requests not counted A': exactly(
      { checkout: 0, 'checkout-canary': 0 },
      'rule',
    ),
    'cost.json: Budgets A': exactly(
      { checkout: 1, 'checkout-canary': 1, strained: 0.00001 / 100, leaving: 0.05, unready: 0.05 },
      'rule',
    ),
    'cost.json: Budgets B': exactly({ '': 0.9 * cpus().length }),
    'cost.json: Spans that wait A': exactly({ otlp: 0 }, 'sink'),
    'cost.json: Spans that wait B': exactly({ otlp: 0 }, 'sink'),
    'cost.json: Series beyond the cap A': (series) => {
      const found = new Map(series.map(({ labels, value }) => [labels['metric'], value]));
      assert.equal(found.get('underspan_function_calls_total'), beyond);
      assert.equal(found.get('underspan_lost_calls_total'), 0);
    },

    'fleet.json: Agents up A': exactly({ '': 1 }),
    'fleet.json: Agents down A': exactly({ '': 1 }),
    'fleet.json: Rules not ready A': exactly({ '': 1 }),
    'fleet.json: Traced processes A': exactly({ '': 3 }),
    'fleet.json: Restarts A': exactly({ '': 0 }),
    'fleet.json: Rules ready A': exactly(
      { checkout: 1, 'checkout-canary': 1, strained: 1, leaving: 1, unready: 0 },
      'rule',
    ),
    'fleet.json: Traced processes by rule and executable A': exactly(
      { [executable]: 1, [scene.canary.binary]: 1, [scene.narrow]: 1 },
      'executable',
    ),
    'fleet.json: Probes taken back, by reason A': rates({ idle: scene.sitesOfLeft }, 'reason'),
    'fleet.json: Spans delivered A': rates({ otlp: delivered }, 'sink'),
    'fleet.json: Functions refused A': exactly({ 'is a single instruction': 2 }, 'reason'),
  };
}

const nameOf = ({ dashboard, panel, refId }: DashboardQuery): string =>
  `${dashboard}: ${panel} ${refId}`;

describe('dashboards', { skip: missingBpf() }, () => {
  let queries: DashboardQuery[];
  const results = new Map<string, PrometheusSeries[]>();

  before(async () => {
    const rateInterval = windowed();
    queries = [
      ['functions.json', { rule: 'checkout' }],
      ['function.json', { rule: 'checkout', function: PLACE_ORDER }],
      ['cost.json', {}],
      ['fleet.json', {}],
    ].flatMap(([dashboard, values]) =>
      dashboardQueries({
        dashboard: dashboard as string,
        rateInterval,
        values: values as Record<string, string>,
      }),
    );
    for (const query of queries) results.set(nameOf(query), await ask(query.expr));
  });

  test('every query of every panel and variable returns data', () => {
    assert.ok(queries.length > 100, `${queries.length} queries`);
    const empty = [...results].filter(([, series]) =>
      series.every(({ value }) => !Number.isFinite(value)),
    );
    // Functions of the kernel are traced in virtual machines alone.
    assert.deepEqual(
      empty.map(([name]) => name),
      ['function.json: Spans kept against calls C'],
    );
  });

  test('and what was counted by others', async () => {
    for (const [name, check] of Object.entries(await expectations())) {
      const series = results.get(name);
      assert.ok(series, `no query ${name}`);
      try {
        check(series);
      } catch (error) {
        throw new Error(`${name}: ${JSON.stringify(series)}`, { cause: error });
      }
    }
  });

  test('variables offer what there is', () => {
    const offered = (name: string, label: string): string[] =>
      (results.get(name) ?? []).map(({ labels }) => labels[label] ?? '').sort();
    const rules = ['checkout', 'checkout-canary', 'leaving', 'strained', 'unready'];
    assert.deepEqual(offered('fleet.json: $rule variable', 'rule'), rules);
    assert.deepEqual(offered('fleet.json: $node variable', 'node'), [LABELS.node]);
    assert.deepEqual(offered('fleet.json: $namespace variable', 'namespace'), [LABELS.namespace]);
    assert.deepEqual(offered('functions.json: $executable variable', 'executable'), [
      scene.shop.binary,
    ]);
    const functions = offered('functions.json: $function variable', 'function').map(plainName);
    const missing = Object.entries(counted()).filter(
      ([name, count]) => count > 0 && !functions.includes(name),
    );
    assert.deepEqual(missing, []);
  });

  test('exemplars lead to traces that exist', async () => {
    const traces = new Set(scene.traceIds);
    for (const { traceId } of await scene.collector.spans()) traces.add(traceId);
    const asked = queries.filter(({ exemplar }) => exemplar);
    assert.ok(asked.length >= 4);
    for (const query of asked) {
      const exemplars = await scene.prometheus.exemplars(query.expr);
      assert.ok(exemplars.length > 0, nameOf(query));
      for (const { labels } of exemplars) {
        assert.ok(traces.has(labels['trace_id'] ?? ''), `${nameOf(query)}: ${labels['trace_id']}`);
      }
    }
  });
});

describe('alerts', { skip: missingBpf() }, () => {
  test('all hold, since everything they tell of has happened', async () => {
    for (const { alert, expr } of await alerts(windowed())) {
      const series = alert === 'UnderspanSpoolGrows' ? grown : await ask(expr);
      assert.ok(series.length > 0, alert);
    }
  });

  test('Prometheus can evaluate them', async () => {
    const errors = await scene.prometheus.ruleErrors();
    assert.deepEqual(
      Object.keys(errors),
      (await alerts('1m')).map(({ alert }) => alert),
    );
    assert.deepEqual(new Set(Object.values(errors)), new Set(['']));
    const { ok, output } = await promtool(['check', 'rules', '--lint-fatal', ALERTS]);
    assert.ok(ok, output);
  });

  test('promtool finds nothing wrong with the metrics', async () => {
    const { ok, output } = await checkMetrics(text.text);
    assert.ok(ok, output);
  });
});

/** Everything under a key of this name. */
function found(value: unknown, key: string): string[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, each]) =>
    name === key && typeof each === 'string' ? [each] : found(each, key),
  );
}

async function examples(file: string): Promise<string[]> {
  const path = join(projectRoot, 'deploy/examples', file);
  return parseAllDocuments(await readFile(path, 'utf8')).flatMap((document) =>
    found(document.toJS(), 'query'),
  );
}

describe('examples', { skip: missingBpf() }, () => {
  const value = async (expr: string): Promise<number> => {
    const [only, ...more] = await ask(expr);
    assert.ok(only && more.length === 0, `${more.length + 1} series of ${expr}`);
    return only.value;
  };

  test('KEDA is told the rate of requests, and their duration', async () => {
    const [requests, latency, ...more] = await examples('keda-scaledobject.yaml');
    assert.ok(requests && latency && more.length === 0);
    const twoMinutes = 120;
    const asked = sum(Object.values(scene.orders));
    // With the eleven of the beginning, as far as these were scraped one after the other.
    const rate = (await value(requests)) * twoMinutes;
    assert.ok(rate >= asked && rate <= 1.1 * (asked + 11), `${rate}, ${asked}`);
    const p95 = await value(latency);
    const bounds = text.samples(`${REQUESTS}_bucket`).map(({ labels }) => Number(labels['le']));
    const bound = Math.min(...bounds.filter((each) => each >= scene.longest));
    assert.ok(p95 > 0 && p95 <= bound, `${p95} s, at most ${bound} s`);
  });

  test('Argo is told the share of failures', async () => {
    const [query, ...more] = await examples('argo-analysistemplate.yaml');
    assert.ok(query && more.length === 0);
    const share = (scene.canaried['500'] ?? NaN) / sum(Object.values(scene.canaried));
    const measured = await value(query);
    assert.ok(Math.abs(measured - share) < 0.02 * share, `${measured}, ${share}`);
    // And that there are none, where nothing failed.
    const healthy = query.replaceAll('checkout-canary', 'checkout');
    assert.equal(await value(healthy), 0);
  });
});
