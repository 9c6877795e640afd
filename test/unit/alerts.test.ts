import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { inFolder } from '../tools/folder.js';
import { projectRoot } from '../tools/go.js';
import { DEFAULT_METRICS_OF_PROMETHEUS, METRIC_LABELS, TARGET_LABELS } from '../tools/metrics.js';
import { promqlNames } from '../tools/promql.js';
import { needPromtool } from '../tools/promtool.js';

const file = join(projectRoot, 'dashboards/alerts.yaml');

interface Rule {
  alert: string;
  expr: string;
  for: string;
  labels: Record<string, string>;
  annotations: Record<string, string>;
}

async function rules(): Promise<Rule[]> {
  const { groups } = parse(await readFile(file, 'utf8')) as { groups: { rules: Rule[] }[] };
  return groups.flatMap((group) => group.rules);
}

/** What is scraped of one agent, once a minute, in promtool's notation. */
const AGENT = 'job="underspan",instance="a:9464"';
const PROBED = `${AGENT},rule="shop",executable="/shop"`;

interface Scenario {
  alert: string;
  /** Labels that the alert carries besides its severity. */
  labels: string;
  at: string;
  bad: Record<string, string>;
  /** The same series, as they are when all is well. */
  good: Record<string, string>;
}

const BUDGET = {
  [`underspan_targets{${PROBED}}`]: '2x60',
  [`underspan_overhead_budget_ratio{${AGENT},rule="shop"}`]: '0.05x60',
};

const SCENARIOS: Scenario[] = [
  {
    alert: 'UnderspanAgentDown',
    labels: AGENT,
    at: '20m',
    bad: {
      [`up{${AGENT}}`]: '1x9 0x50',
      [`underspan_build_info{${AGENT}}`]: '1x9 stale',
      // Another program's target, which is none of ours.
      'up{job="other",instance="b:1"}': '0x60',
    },
    good: {
      [`up{${AGENT}}`]: '1x60',
      [`underspan_build_info{${AGENT}}`]: '1x60',
      'up{job="other",instance="b:1"}': '0x60',
    },
  },
  {
    alert: 'UnderspanRuleNotReady',
    labels: `${AGENT},rule="shop"`,
    at: '20m',
    bad: { [`underspan_rule_ready{${AGENT},rule="shop"}`]: '0x60' },
    good: { [`underspan_rule_ready{${AGENT},rule="shop"}`]: '0x9 1x50' },
  },
  {
    alert: 'UnderspanOverheadAboveBudget',
    labels: PROBED,
    at: '30m',
    // Two processes may use 10 % of a CPU together: six seconds a minute.
    bad: { [`underspan_overhead_cpu_seconds_total{${PROBED}}`]: '0+6.3x60', ...BUDGET },
    good: { [`underspan_overhead_cpu_seconds_total{${PROBED}}`]: '0+5.7x60', ...BUDGET },
  },
  {
    alert: 'UnderspanSpansLost',
    labels: `${AGENT},sink="otlp",reason="queue"`,
    at: '20m',
    bad: {
      [`underspan_exporter_lost_spans_total{${AGENT},sink="otlp",reason="queue"}`]: '0+5x60',
    },
    good: { [`underspan_exporter_lost_spans_total{${AGENT},sink="otlp",reason="queue"}`]: '7x60' },
  },
  {
    alert: 'UnderspanSpoolGrows',
    labels: `${AGENT},sink="otlp"`,
    at: '30m',
    bad: { [`underspan_exporter_spool_bytes{${AGENT},sink="otlp"}`]: '1+1000x60' },
    good: { [`underspan_exporter_spool_bytes{${AGENT},sink="otlp"}`]: '60000-1000x60' },
  },
  {
    alert: 'UnderspanRingFull',
    labels: `${AGENT},reason="ringFull"`,
    at: '20m',
    bad: { [`underspan_lost_calls_total{${AGENT},reason="ringFull"}`]: '0+5x60' },
    // Asked for.
    good: { [`underspan_lost_calls_total{${AGENT},reason="sampledOut"}`]: '0+5x60' },
  },
  {
    alert: 'UnderspanSeriesDropped',
    labels: `${AGENT},metric="underspan_function_calls_total"`,
    at: '20m',
    bad: { [`underspan_dropped_series{${AGENT},metric="underspan_function_calls_total"}`]: '3x60' },
    good: {
      [`underspan_dropped_series{${AGENT},metric="underspan_function_calls_total"}`]: '0x60',
    },
  },
];

test('alerts say what is wrong, and name metrics that the agent has', async () => {
  const all = await rules();
  assert.deepEqual(
    all.map((rule) => rule.alert),
    SCENARIOS.map((scenario) => scenario.alert),
  );
  for (const rule of all) {
    assert.match(rule.labels['severity'] ?? '', /^(info|warning|critical)$/, rule.alert);
    assert.match(rule.annotations['summary'] ?? '', /\.$/, rule.alert);
    assert.match(rule.annotations['description'] ?? '', /\.$/, rule.alert);
    const { metrics, labels } = promqlNames(rule.expr);
    const own = [...metrics].flatMap((metric) => METRIC_LABELS[metric] ?? []);
    for (const metric of metrics) {
      assert.ok(metric in METRIC_LABELS || DEFAULT_METRICS_OF_PROMETHEUS.includes(metric), metric);
    }
    for (const label of labels) {
      assert.ok(TARGET_LABELS.includes(label) || own.includes(label), `${rule.alert}: ${label}`);
    }
  }
});

test('Prometheus accepts the alerts', async (t) => {
  const run = await needPromtool(t);
  if (!run) return;
  const { ok, output } = await run(['check', 'rules', '--lint-fatal', file]);
  assert.ok(ok, output);
});

test('alerts fire when they should, and not before', async (t) => {
  const run = await needPromtool(t);
  if (!run) return;
  const severities = new Map((await rules()).map((rule) => [rule.alert, rule.labels['severity']]));
  const tests = SCENARIOS.flatMap(({ alert, labels, at, bad, good }) => {
    const firing = `ALERTS{alertname="${alert}",alertstate="firing"}`;
    const expected = `${firing.slice(0, -1)},${labels},severity="${severities.get(alert) ?? ''}"}`;
    return [
      { name: `${alert}, bad`, series: bad, fires: [{ labels: expected, value: 1 }] },
      { name: `${alert}, good`, series: good, fires: [] },
    ].map(({ name, series, fires }) => ({
      name,
      interval: '1m',
      input_series: Object.entries(series).map(([of, values]) => ({ series: of, values })),
      promql_expr_test: [
        { expr: firing, eval_time: '1m', exp_samples: [] },
        { expr: firing, eval_time: at, exp_samples: fires },
      ],
    }));
  });
  await inFolder(async (dir) => {
    const name = join(dir, 'alerts.json');
    await writeFile(name, JSON.stringify({ rule_files: [file], tests }));
    const { ok, output } = await run(['test', 'rules', name]);
    assert.ok(ok, output);
  });
});
