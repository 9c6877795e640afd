import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { parse } from 'yaml';
import { DASHBOARDS, render } from '../../dashboards/source/index.js';
import { COLUMNS } from '../../dashboards/source/layout.js';
import { METRICS } from '../../dashboards/source/metrics.js';
import type { Dashboard, Panel } from '../../dashboards/source/model.js';
import { dashboardQueries } from '../tools/dashboards.js';
import { inFolder } from '../tools/folder.js';
import { projectRoot } from '../tools/go.js';
import { promqlNames } from '../tools/promql.js';
import { needPromtool } from '../tools/promtool.js';
import { DEFAULT_METRICS_OF_PROMETHEUS, METRIC_LABELS, TARGET_LABELS } from '../tools/metrics.js';

const folder = join(projectRoot, 'dashboards');
const all = Object.entries(DASHBOARDS);
const FUNCTION = 'main.(*Order).Confirm';
const queries = dashboardQueries({ rateInterval: '1m', values: { function: FUNCTION } });

function panelsOf(dashboard: Dashboard): Panel[] {
  return dashboard.panels.filter((panel): panel is Panel => panel.type !== 'row');
}

/** Everything that Grafana puts values of variables into. */
function* texts(value: unknown): Generator<string> {
  if (typeof value === 'string') yield value;
  else if (value !== null && typeof value === 'object') {
    for (const each of Object.values(value)) yield* texts(each);
  }
}

test('the committed dashboards are what the code makes', async () => {
  const files = (await readdir(folder)).filter((name) => name.endsWith('.json'));
  assert.deepEqual(files.sort(), Object.keys(DASHBOARDS).sort());
  for (const [name, dashboard] of all) {
    const text = await readFile(join(folder, name), 'utf8');
    assert.ok(text === render(dashboard), `${name} is stale: npm run dashboards`);
  }
});

test('the Kustomize component holds every dashboard', async () => {
  const text = await readFile(join(folder, 'kustomization.yaml'), 'utf8');
  const { configMapGenerator } = parse(text) as { configMapGenerator: { files: string[] }[] };
  const files = configMapGenerator.flatMap((each) => each.files);
  assert.deepEqual(files.sort(), Object.keys(DASHBOARDS).sort());
});

test('dashboards have what Grafana needs to tell them apart', () => {
  assert.equal(new Set(all.map(([, dashboard]) => dashboard.uid)).size, all.length);
  assert.equal(new Set(all.map(([, dashboard]) => dashboard.title)).size, all.length);
  for (const [name, dashboard] of all) {
    // Grafana's limit.
    assert.match(dashboard.uid, /^[a-z0-9-]{1,40}$/, name);
    assert.equal(dashboard.id, null);
    assert.equal(dashboard.refresh, '30s');
    assert.ok(dashboard.tags.includes('underspan'));
    const ids = dashboard.panels.map((panel) => panel.id);
    assert.equal(new Set(ids).size, ids.length, `${name}: ids`);
    const titles = panelsOf(dashboard).map((panel) => panel.title);
    assert.equal(new Set(titles).size, titles.length, `${name}: titles`);
  }
});

test('every panel says what it shows, in which unit and from where', () => {
  for (const [name, dashboard] of all) {
    for (const panel of panelsOf(dashboard)) {
      const where = `${name}: ${panel.title}`;
      assert.notEqual(panel.title, '', name);
      assert.match(panel.description, /\.$/, where);
      assert.notEqual(panel.fieldConfig.defaults.unit, '', where);
      assert.deepEqual(panel.datasource, { type: 'prometheus', uid: '${datasource}' }, where);
      assert.ok(panel.targets.length > 0, where);
      const refIds = panel.targets.map((target) => target.refId);
      assert.equal(new Set(refIds).size, refIds.length, where);
      for (const target of panel.targets) {
        assert.deepEqual(target.datasource, panel.datasource, where);
        assert.notEqual(target.range, target.instant, where);
        const named = panel.type === 'table' || target.legendFormat !== '__auto';
        assert.ok(named, `${where}: a legend`);
      }
    }
  }
});

test('a legend names labels that its query keeps', () => {
  for (const [name, dashboard] of all) {
    for (const panel of panelsOf(dashboard)) {
      for (const { expr, legendFormat } of panel.targets) {
        const { labels } = promqlNames(expr.replace(/\$\w+/g, '1'));
        for (const [, label] of legendFormat.matchAll(/\{\{(\w+)\}\}/g)) {
          assert.ok(labels.has(label ?? ''), `${name}: ${panel.title}: {{${label}}}`);
        }
      }
    }
  }
});

test('panels do not overlap and stay within the grid', () => {
  for (const [name, dashboard] of all) {
    const taken = new Map<string, string>();
    for (const { title, gridPos } of dashboard.panels) {
      const { x, y, w, h } = gridPos;
      assert.ok(x >= 0 && w > 0 && h > 0 && x + w <= COLUMNS, `${name}: ${title}`);
      for (let column = x; column < x + w; column++) {
        for (let line = y; line < y + h; line++) {
          const cell = `${column},${line}`;
          assert.equal(taken.get(cell), undefined, `${name}: ${title} lies over another`);
          taken.set(cell, title);
        }
      }
    }
  }
});

test('every variable that is used is there, and every one that is there is used', () => {
  // Grafana's own: of the time, of a series, of a row.
  const own = /^(__rate_interval|__range|__from|__to|__url_time_range|__field|__data)$/;
  for (const [name, dashboard] of all) {
    const defined = new Set(dashboard.templating.list.map((variable) => variable.name));
    const used = new Set<string>();
    for (const text of texts([dashboard.panels, dashboard.templating])) {
      for (const [, plain, braced] of text.matchAll(/\$(?:(\w+)|\{(\w+)[^}]*\})/g)) {
        const variable = plain ?? braced ?? '';
        // The value of All.
        if (own.test(variable) || variable === '__all') continue;
        assert.ok(defined.has(variable), `${name}: $${variable} in ${text}`);
        used.add(variable);
      }
    }
    // Links to traces are of functions, and links between dashboards keep every variable.
    for (const linked of ['tempo', 'jaeger']) used.add(linked);
    assert.deepEqual(
      [...defined].filter((variable) => !used.has(variable)),
      [],
      name,
    );
  }
});

test('links lead to dashboards that exist and to variables that they have', () => {
  const byUid = new Map(all.map(([, dashboard]) => [dashboard.uid, dashboard]));
  for (const [name, dashboard] of all) {
    const others = [...byUid.keys()].filter((uid) => uid !== dashboard.uid);
    assert.deepEqual(
      dashboard.links.map((link) => link.url).sort(),
      others.map((uid) => `/d/${uid}`).sort(),
      name,
    );
    for (const link of dashboard.links) assert.ok(link.includeVars && link.keepTime, name);
    const links = [...texts(dashboard.panels)].filter((text) => /^\/(d|explore)/.test(text));
    for (const link of links) {
      const [, uid, query] = /^\/d\/([^?]+)\?(.*)$/.exec(link) ?? [];
      if (uid === undefined) continue;
      const target = byUid.get(uid);
      assert.ok(target, link);
      const names = new Set(target.templating.list.map((variable) => variable.name));
      for (const [, kept, set] of (query ?? '').matchAll(/\$\{(\w+):queryparam\}|var-(\w+)=/g)) {
        assert.ok(names.has(kept ?? set ?? ''), link);
      }
    }
  }
});

test('links to traces are addresses that Explore reads', () => {
  const links = all.flatMap(([, dashboard]) =>
    [...texts(dashboard.panels)].filter((text) => text.startsWith('/explore')),
  );
  assert.ok(links.length > 0);
  for (const link of links) {
    // As Grafana fills it in: function names hold characters that a query string or JSON may not.
    const filled = link.replace(/\$\{[^}]*percentencode\}/g, encodeURIComponent(FUNCTION));
    const panes = new URL(filled.replace(/\$\{(\w+)\}/g, '$1'), 'http://grafana').searchParams.get(
      'panes',
    );
    const { traces } = JSON.parse(panes ?? '') as {
      traces: { datasource: string; queries: Record<string, string>[] };
    };
    const query = traces.queries[0] ?? {};
    if (traces.datasource === 'tempo') assert.equal(query['query'], `{ name = "${FUNCTION}" }`);
    else assert.equal(query['operation'], FUNCTION);
  }
});

test('PromQL is taken apart', () => {
  const names = promqlNames(
    'sum by (le, a) (rate(m_bucket{b="x{y}",c=~\'sum(z)\'}[5m] offset 1h30m)) / on (d) group_left ' +
      'count without (e) (n:total > bool 1e-9) and up{} # no(metric)',
  );
  assert.deepEqual([...names.metrics].sort(), ['m_bucket', 'n:total', 'up']);
  assert.deepEqual([...names.labels].sort(), ['a', 'b', 'c', 'd', 'e', 'le']);
  assert.throws(() => promqlNames('a ; b'), /no PromQL at 2/);
});

test('queries name metrics and labels that the agent has', () => {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const known = new Set([
    ...Object.keys(METRIC_LABELS),
    ...DEFAULT_METRICS_OF_PROMETHEUS,
    ...registry.getMetricsAsArray().map((metric) => metric.name),
  ]);
  const used = new Set<string>();
  for (const query of queries) {
    const where = `${query.dashboard}: ${query.panel} ${query.refId}`;
    const { metrics, labels } = promqlNames(query.expr);
    assert.ok(metrics.size > 0, where);
    const own = [...metrics].flatMap((metric) => METRIC_LABELS[metric] ?? []);
    for (const metric of metrics) assert.ok(known.has(metric), `${where}: ${metric}`);
    for (const label of labels) {
      assert.ok(TARGET_LABELS.includes(label) || own.includes(label), `${where}: ${label}`);
    }
    for (const metric of metrics) used.add(metric);
  }
  const unseen = Object.keys(METRIC_LABELS).filter((metric) => !used.has(metric));
  // The sum is for who wants the mean; no panel has it.
  assert.deepEqual(unseen, ['http_server_request_duration_seconds_sum']);
});

test('the types of the queries have the labels of the metrics', () => {
  for (const [metric, labels] of Object.entries(METRICS)) {
    assert.deepEqual([...labels], METRIC_LABELS[metric] ?? [], metric);
  }
});

test('values of variables are put in as Grafana does', () => {
  const [first] = dashboardQueries({
    rateInterval: '10s',
    values: { instance: ['a:1', 'b+c'], rule: 'x"', function: 'f' },
  }).filter(({ dashboard, panel }) => dashboard === 'functions.json' && panel === 'Calls');
  assert.equal(
    first?.expr,
    'sum(rate(underspan_function_calls_total{namespace=~".*",node=~".*",' +
      'instance=~"(a:1|b\\\\+c)",rule=~"x\\\\\\"",executable=~".*",function=~"f"}[10s]))',
  );
  assert.throws(() => dashboardQueries({ rateInterval: '10s' }), /\$function must be given/);
});

test('Prometheus accepts every query', async (t) => {
  const check = await needPromtool(t);
  if (!check) return;
  await inFolder(async (dir) => {
    const file = join(dir, 'queries.json');
    // JSON is YAML.
    const rules = queries.map(({ expr }, index) => ({ record: `q:${index}`, expr }));
    await writeFile(file, JSON.stringify({ groups: [{ name: 'queries', rules }] }));
    const { ok, output } = await check(['check', 'rules', '--lint=none', file]);
    assert.ok(ok, output);
    assert.match(output, new RegExp(`${queries.length} rules found`));
  });
});
