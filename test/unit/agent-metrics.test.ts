import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { AgentMetrics, type AgentMetricsOptions } from '../../src/agent/metrics.js';
import {
  DURATION_BOUNDS_NS,
  DURATION_BUCKETS,
  durationBucket,
  durationBuckets,
} from '../../src/agent/metrics/buckets.js';
import { Exemplars } from '../../src/agent/metrics/exemplars.js';
import { DROPPED_SERIES, families } from '../../src/agent/metrics/families.js';
import { canonicalNumber } from '../../src/agent/metrics/open-metrics.js';
import type { LimitsConfig } from '../../src/agent/config/config.js';
import type { AgentSnapshot } from '../../src/agent/snapshot.js';
import { hostBudget } from '../../src/agent/state.js';
import { HISTOGRAM_BUCKETS } from '../../src/spans/records.generated.js';
import { projectRoot } from '../tools/go.js';
import { OpenMetricsText } from '../tools/openmetrics.js';
import {
  emptySnapshot,
  functionSnapshot,
  functionSpan,
  kernelBucket,
  UNGOVERNED,
} from '../tools/snapshot.js';

const DURATION = 'underspan_function_duration_seconds';

function metricsOf(
  snapshot: Partial<AgentSnapshot> | (() => Partial<AgentSnapshot>),
  options: Partial<AgentMetricsOptions> = {},
): AgentMetrics {
  return new AgentMetrics({
    snapshot: () => ({
      ...emptySnapshot(),
      ...(typeof snapshot === 'function' ? snapshot() : snapshot),
    }),
    version: '1.2.3',
    maxSeries: 100,
    ...options,
  });
}

async function parsed(metrics: AgentMetrics): Promise<OpenMetricsText> {
  return new OpenMetricsText((await metrics.render()).body);
}

/** Lines of one family, without those that say what it is. */
async function lines(metrics: AgentMetrics, name: string): Promise<string[]> {
  const { body } = await metrics.render();
  return body.split('\n').filter((line) => line.startsWith(name) && !line.startsWith('#'));
}

/** Any of 64 bits, small ones as likely as large ones, and bounds with their neighbours. */
function someDurations(): bigint[] {
  const durations = [0n, 1n, 63n, 64n, 65n];
  for (let octave = 6n; octave < 63n; octave++) {
    durations.push((1n << octave) - 1n, 1n << octave, (1n << octave) + 1n);
  }
  for (let times = 0; times < 20_000; times++) {
    durations.push(BigInt(Math.floor(2 ** (Math.random() * 50))));
  }
  return durations;
}

describe('buckets of durations', () => {
  test('the bucket to which the kernel counts a duration is one that holds it', () => {
    for (const ns of someDurations()) {
      const histogram = new Array<number>(HISTOGRAM_BUCKETS).fill(0);
      histogram[kernelBucket(ns)] = 1;
      const bucket = durationBuckets(histogram).indexOf(1);
      const duration = Number(ns);
      const below = DURATION_BOUNDS_NS[bucket - 1] ?? 0;
      const bound = DURATION_BOUNDS_NS[bucket] ?? Infinity;
      assert.ok(duration >= below && duration < bound, `${ns} in [${below}, ${bound})`);
    }
  });

  test('an exemplar belongs to the bucket whose bound it does not exceed', () => {
    for (const ns of someDurations()) {
      const duration = Number(ns);
      const bucket = durationBucket(duration);
      const below = DURATION_BOUNDS_NS[bucket - 1] ?? -1;
      const bound = DURATION_BOUNDS_NS[bucket] ?? Infinity;
      assert.ok(duration > below && duration <= bound, `${ns} in (${below}, ${bound}]`);
    }
  });

  test('no count is lost on the way', () => {
    const histogram = Array.from({ length: HISTOGRAM_BUCKETS }, (_, bucket) => bucket + 1);
    const buckets = durationBuckets(histogram);
    assert.equal(buckets.length, DURATION_BUCKETS);
    assert.equal(
      buckets.reduce((sum, count) => sum + count),
      (HISTOGRAM_BUCKETS * (HISTOGRAM_BUCKETS + 1)) / 2,
    );
  });

  test('bounds are written as Prometheus writes them', () => {
    assert.deepEqual(
      [1.024e-6, 2 ** 17 / 1e9, 0.005, 1, 34.359738368, Infinity, 5e-5].map(canonicalNumber),
      ['1.024e-06', '0.000131072', '0.005', '1.0', '34.359738368', '+Inf', '5e-05'],
    );
  });
});

describe('what is rendered', () => {
  test('OpenMetrics', async () => {
    const { contentType, body } = await metricsOf({}).render();
    assert.equal(contentType, 'application/openmetrics-text; version=1.0.0; charset=utf-8');
    assert.ok(body.endsWith('\n# EOF\n'));
  });

  test('a histogram from the counts of the kernel', async () => {
    const durations = [500, 1_500, 1_600, 3_000_000, 60_000_000_000];
    const functions = [functionSnapshot({}, durations, 2)];
    const rendered = await lines(metricsOf({ functions }), DURATION);
    const labels = 'rule="shop",executable="/app/shop",function="main.work"';
    const expected = DURATION_BOUNDS_NS.map((bound) => {
      const count = durations.filter((duration) => duration < bound).length;
      return `${DURATION}_bucket{le="${canonicalNumber(bound / 1e9)}",${labels}} ${count}`;
    });
    assert.deepEqual(rendered, [
      ...expected,
      `${DURATION}_bucket{le="+Inf",${labels}} 5`,
      `${DURATION}_sum{${labels}} 60.0030036`,
      `${DURATION}_count{${labels}} 5`,
    ]);
    assert.match(rendered[0] ?? '', /le="1\.024e-06",.*} 1$/);
    assert.match(rendered[25] ?? '', /le="34\.359738368",.*} 4$/);
  });

  test('a histogram of requests by the buckets of the semantic conventions', async () => {
    const http = {
      rule: 'shop',
      executable: '/app/shop',
      route: '/orders/{id}',
      method: 'GET',
      status: 200,
      buckets: [1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4],
      sumNs: 90_500_000_000,
    };
    const metrics = metricsOf({ http: [http, { ...http, method: '', status: 0 }] });
    const text = await parsed(metrics);
    const name = 'http_server_request_duration_seconds';
    const labels = { http_route: '/orders/{id}', http_response_status_code: '200' };
    assert.equal(text.value(`${name}_bucket`, { ...labels, le: '0.005' }), 1);
    assert.equal(text.value(`${name}_bucket`, { ...labels, le: '0.025' }), 3);
    assert.equal(text.value(`${name}_bucket`, { ...labels, le: '10.0' }), 3);
    assert.equal(text.value(`${name}_bucket`, { ...labels, le: '+Inf' }), 7);
    assert.equal(text.value(`${name}_sum`, labels), 90.5);
    assert.equal(text.value(`${name}_count`, { http_request_method: 'GET' }), 7);
    assert.equal(text.value(`${name}_count`, { http_response_status_code: '' }), 7);
  });

  test('every other metric of a full snapshot', async () => {
    const { body } = await metricsOf(fullSnapshot()).render();
    const own = body.split('\n').filter((line) => /^(underspan)_/.test(line));
    assert.deepEqual(
      own.filter((line) => !/_(build_info|dropped_series|duration_seconds_\w+)\{/.test(line)),
      [
        'underspan_function_calls_total{rule="shop",executable="/app/shop",function="main.work"} 2',
        'underspan_function_errors_total{rule="shop",executable="/app/shop",function="main.work"} 1',
        'underspan_function_spans_total{rule="shop",executable="/app/shop",function="main.work"} 1',
        'underspan_http_uncounted_requests_total{rule="shop"} 9',
        'underspan_spans_total 7',
        'underspan_gc_spans_total 2',
        'underspan_lost_calls_total{reason="rate"} 3',
        'underspan_lost_calls_total{reason="queue"} 0',
        'underspan_overhead_cpu_seconds_total{rule="shop",executable="/app/shop"} 1.5',
        'underspan_overhead_predicted_cpu_seconds_total{rule="shop",executable="/app/shop"} 1.25',
        'underspan_overhead_budget_ratio{rule="empty"} 0.05',
        'underspan_overhead_budget_ratio{rule="shop"} 0.05',
        'underspan_governor_counted_functions{rule="empty"} 3',
        'underspan_governor_counted_functions{rule="shop"} 0',
        'underspan_governor_withdrawn_functions{rule="empty"} 2',
        'underspan_governor_withdrawn_functions{rule="shop"} 0',
        'underspan_governor_withdrawals_total{rule="empty"} 5',
        'underspan_governor_withdrawals_total{rule="shop"} 0',
        'underspan_governor_thinned{rule="empty"} 1',
        'underspan_governor_thinned{rule="shop"} 0',
        'underspan_governor_suspended_executables{rule="empty"} 1',
        'underspan_governor_suspended_executables{rule="shop"} 0',
        'underspan_governor_unwatched{rule="empty"} 1',
        'underspan_governor_unwatched{rule="shop"} 0',
        'underspan_governor_suspensions_total{rule="empty"} 6',
        'underspan_governor_suspensions_total{rule="shop"} 0',
        'underspan_targets{rule="shop",executable="/app/shop"} 2',
        'underspan_probes_attached{rule="shop",executable="/app/shop"} 12',
        'underspan_probes_detached_total{reason="idle"} 4',
        'underspan_functions_attached{rule="shop",executable="/app/shop"} 5',
        'underspan_functions_refused{rule="shop",executable="/app/shop",reason="inlined"} 6',
        'underspan_rule_ready{rule="empty"} 0',
        'underspan_rule_ready{rule="shop"} 1',
        'underspan_exporter_queue_spans{sink="otlp"} 10',
        'underspan_exporter_queue_bytes{sink="otlp"} 11',
        'underspan_exporter_spool_spans{sink="otlp"} 12',
        'underspan_exporter_spool_bytes{sink="otlp"} 13',
        'underspan_exporter_delivered_spans_total{sink="otlp"} 14',
        'underspan_exporter_lost_spans_total{sink="otlp",reason="export"} 17',
        'underspan_exporter_repeated_spans_total{sink="otlp"} 15',
        'underspan_exporter_retries_total{sink="otlp"} 16',
        'underspan_bpf_run_seconds_total{program="enter"} 0.25',
        'underspan_bpf_runs_total{program="enter"} 100',
        'underspan_bpf_map_entries{map="open_calls"} 8',
        'underspan_bpf_map_max_entries{map="open_calls"} 8192',
      ],
    );
    assert.match(
      body,
      /^underspan_build_info\{version="1\.2\.3",node_version="\d+[^"]*",kernel="[^"]+"\} 1$/m,
    );
  });

  test('metrics of the process', async () => {
    const text = await parsed(metricsOf({}));
    assert.ok(text.value('process_resident_memory_bytes') > 1e6);
    assert.ok(text.value('process_cpu_seconds_total') > 0);
    assert.equal(text.samples('nodejs_version_info').length, 1);
  });

  test('is the same after it was rendered before', async () => {
    const metrics = metricsOf(fullSnapshot());
    const own = (text: string): string[] =>
      text.split('\n').filter((line) => /^(# \w+ )?(underspan|http)_/.test(line));
    const first = await metrics.render();
    assert.deepEqual(own((await metrics.render()).body), own(first.body));
  });

  test('labels that hold anything', async () => {
    const name = 'a"b\\c\nd{},=#\u{1f600}';
    const text = await parsed(
      metricsOf({
        functions: [functionSnapshot({ name }, [5]), functionSnapshot({ name: 'x\0y' }, [5])],
      }),
    );
    const names = text.samples('underspan_function_calls_total').map((s) => s.labels['function']);
    assert.deepEqual(names.sort(), [name, 'x\ufffdy']);
  });

  test('labels that are too long', async () => {
    const functions = [functionSnapshot({ name: 'x'.repeat(100_000) }, [5])];
    const text = await parsed(metricsOf({ functions }));
    const [sample] = text.samples('underspan_function_calls_total');
    assert.equal(sample?.labels['function'], `${'x'.repeat(511)}…`);
  });

  test('a snapshot that fails', async () => {
    const metrics = metricsOf(() => {
      throw new Error('no snapshot');
    });
    await assert.rejects(metrics.render(), /no snapshot/);
  });
});

describe('several of the same labels', () => {
  const first = functionSnapshot({ index: 1 }, [1_500, 1_600]);
  const second = functionSnapshot({ index: 2 }, [1_500]);

  test('are one series', async () => {
    const text = await parsed(metricsOf({ functions: [first, second] }));
    assert.equal(text.value('underspan_function_calls_total'), 3);
    assert.equal(text.value(`${DURATION}_bucket`, { le: '2.048e-06' }), 3);
    assert.equal(text.value(`${DURATION}_sum`), 4.6e-6);
  });

  test('do not go back when one of them goes, and are forgotten with the last', async () => {
    let functions = [first, second];
    const metrics = metricsOf(() => ({ functions }));
    await metrics.render();
    functions = [second];
    assert.equal((await parsed(metrics)).value(`${DURATION}_count`), 3);
    functions = [functionSnapshot({ index: 2 }, [1_500, 1_500])];
    assert.equal((await parsed(metrics)).value(`${DURATION}_count`), 4);
    functions = [];
    assert.deepEqual((await parsed(metrics)).samples(`${DURATION}_count`), []);
    functions = [second];
    assert.equal((await parsed(metrics)).value(`${DURATION}_count`), 1);
  });

  test('of losses stay, until there are more than were thought', async () => {
    let ringFull = 5;
    const metrics = metricsOf(() => ({ lost: { ringFull } }));
    const shown = async (): Promise<number> =>
      (await parsed(metrics)).value('underspan_lost_calls_total');
    assert.equal(await shown(), 5);
    ringFull = 4;
    assert.equal(await shown(), 5);
    ringFull = 6;
    assert.equal(await shown(), 6);
  });

  test('leave a gauge free to go back', async () => {
    let attachments = fullSnapshot().attachments;
    const metrics = metricsOf(() => ({ attachments: [...attachments, ...attachments] }));
    assert.equal((await parsed(metrics)).value('underspan_targets'), 4);
    attachments = attachments.map((attachment) => ({ ...attachment, pids: [1] }));
    assert.equal((await parsed(metrics)).value('underspan_targets'), 2);
  });
});

describe('too many series', () => {
  const functions = Array.from({ length: 10 }, (_, index) =>
    functionSnapshot({ index, name: `main.f${index}` }, [1_000 * ((index * 7) % 10)]),
  );

  test('those with the most time stay, and the others are counted', async () => {
    const text = await parsed(metricsOf({ functions }, { maxSeries: 3 }));
    for (const name of [`${DURATION}_count`, 'underspan_function_calls_total']) {
      const names = text.samples(name).map(({ labels }) => labels['function']);
      assert.deepEqual(names, ['main.f7', 'main.f4', 'main.f1']);
      const metric = name.replace('_count', '');
      assert.equal(text.value('underspan_dropped_series', { metric }), 7);
    }
    assert.equal(text.value('underspan_dropped_series', { metric: 'underspan_targets' }), 0);
  });

  test('of equals, those whose labels come first, whatever their order', async () => {
    const equal = functions.map((one) => functionSnapshot({ name: one.name }, [1_000]));
    for (const order of [equal, [...equal].reverse()]) {
      const text = await parsed(metricsOf({ functions: order }, { maxSeries: 2 }));
      const names = text.samples(`${DURATION}_count`).map(({ labels }) => labels['function']);
      assert.deepEqual(names, ['main.f0', 'main.f1']);
    }
  });
});

test('a scrape of many functions leaves others their turn', async () => {
  const functions = Array.from({ length: 4_000 }, (_, index) =>
    functionSnapshot({ index, name: `main.f${index}` }, [index]),
  );
  const metrics = metricsOf({ functions }, { maxSeries: 4_000 });
  let turns = 0;
  let rendered = false;
  const others = (): void => {
    turns++;
    if (!rendered) setImmediate(others);
  };
  setImmediate(others);
  const text = await parsed(metrics);
  rendered = true;
  assert.equal(text.samples(`${DURATION}_count`).length, 4_000);
  // One before and one after would be none within.
  assert.ok(turns > 2, `${turns} turns`);
});

describe('exemplars', () => {
  test('the latest span of a bucket', async () => {
    const exemplars = new Exemplars();
    const functions = [functionSnapshot({ index: 4 }, [1_500, 1_600, 9_000])];
    const [old, latest, late, slow] = [
      functionSpan(4, 1_500),
      functionSpan(4, 1_600),
      functionSpan(4, 1_700, 1n),
      functionSpan(4, 9_000),
    ] as const;
    exemplars.spans([old, latest, late]);
    exemplars.spans([slow]);
    const text = await parsed(metricsOf({ functions }, { exemplars }));
    const shown = text.samples(`${DURATION}_bucket`).filter(({ exemplar }) => exemplar);
    assert.deepEqual(
      shown.map(({ labels, exemplar }) => [labels['le'], exemplar?.labels, exemplar?.value]),
      [latest, slow].map(({ traceId, spanId, durationNano }, at) => [
        ['2.048e-06', '1.6384e-05'][at],
        { trace_id: traceId, span_id: spanId },
        durationNano / 1e9,
      ]),
    );
    assert.equal(
      shown[0]?.exemplar?.timestamp,
      Number(latest.endTimeUnixNano / 1_000_000n) / 1_000,
    );
  });

  test('of any duration are in their bucket', async () => {
    const exemplars = new Exemplars();
    const durations = someDurations().map(Number).slice(0, 500);
    exemplars.spans(durations.map((duration) => functionSpan(1, duration)));
    const text = await parsed(
      metricsOf({ functions: [functionSnapshot({}, durations)] }, { exemplars }),
    );
    const buckets = text.samples(`${DURATION}_bucket`);
    assert.ok(buckets.every(({ exemplar }) => exemplar));
  });

  test('not of a bucket in which the kernel counted nothing', async () => {
    const exemplars = new Exemplars();
    exemplars.spans([functionSpan(1, 1_500)]);
    const functions = [functionSnapshot({}, [9_000])];
    const { body } = await metricsOf({ functions }, { exemplars }).render();
    assert.doesNotMatch(body, /trace_id/);
  });

  test('not of ten minutes ago', async () => {
    const exemplars = new Exemplars();
    const now = BigInt(Date.now()) * 1_000_000n;
    exemplars.spans([functionSpan(1, 1_500, now - 601_000_000_000n)]);
    exemplars.spans([functionSpan(1, 9_000, now - 590_000_000_000n)]);
    const functions = [functionSnapshot({}, [1_500, 9_000])];
    const { body } = await metricsOf({ functions }, { exemplars }).render();
    assert.equal(body.match(/trace_id/g)?.length, 1);
  });

  test('a function that is gone is forgotten', async () => {
    const exemplars = new Exemplars();
    exemplars.spans([functionSpan(1, 1_500), functionSpan(2, 1_500)]);
    await metricsOf(
      { functions: [functionSnapshot({ index: 2 }, [1_500])] },
      { exemplars },
    ).render();
    assert.equal(exemplars.latestOf(0n)(1, durationBucket(1_500)), null);
    assert.notEqual(exemplars.latestOf(0n)(2, durationBucket(1_500)), null);
    exemplars.forget(2);
    assert.equal(exemplars.latestOf(0n)(2, durationBucket(1_500)), null);
  });

  test('no more functions than there is room for', () => {
    const exemplars = new Exemplars(2);
    exemplars.spans([1, 2, 3, 2].map((index) => functionSpan(index, 1_500)));
    const known = [1, 2, 3].map((index) => exemplars.latestOf(0n)(index, durationBucket(1_500)));
    assert.deepEqual(
      known.map((exemplar) => exemplar !== null),
      [true, true, false],
    );
  });

  test('of two functions that are one series, the later', async () => {
    const exemplars = new Exemplars();
    const later = functionSpan(2, 1_600);
    exemplars.spans([functionSpan(1, 1_500, later.endTimeUnixNano - 1n), later]);
    const functions = [1, 2].map((index) => functionSnapshot({ index }, [1_500]));
    const text = await parsed(metricsOf({ functions }, { exemplars }));
    const [shown] = text.samples(`${DURATION}_bucket`, { le: '2.048e-06' });
    assert.equal(shown?.exemplar?.labels['span_id'], later.spanId);
  });
});

test('docs/metrics.md has every metric with its type and labels', async () => {
  const text = await readFile(join(projectRoot, 'docs/metrics.md'), 'utf8');
  const rows = [
    ...text.matchAll(/^\| `((?:underspan|http)_\w+)` \| (\w+) \| ([^|]*) \| (.+) \|$/gm),
  ];
  const all = [...families({ version: '', node: '', kernel: '' }), DROPPED_SERIES];
  assert.deepEqual(
    rows.map(([, name, type, labels, help]) => [name, type, labels, help]),
    all.map(({ name, type, labels, help }) => [
      name,
      type,
      labels.map((label) => `\`${label}\``).join(', '),
      help,
    ]),
  );
});

function fullSnapshot(): AgentSnapshot {
  return {
    ...emptySnapshot(),
    attachments: [
      {
        rule: 'shop',
        executable: '/app/shop',
        service: 'shop',
        pids: [1, 2],
        functions: 5,
        sites: 12,
        spentNs: 1_500_000_000,
        predictedNs: 1_250_000_000,
      },
    ],
    functions: [functionSnapshot({ spans: 1 }, [1_000, 2_000], 1)],
    httpUncounted: [{ rule: 'shop', requests: 9 }],
    lost: { rate: 3, queue: 0 },
    spans: 7,
    gcSpans: 2,
    detached: { idle: 4 },
    refused: [{ rule: 'shop', executable: '/app/shop', reason: 'inlined', functions: 6 }],
    rules: [
      { name: 'shop', state: 'ready', problem: null, maxOverhead: 0.05, governed: UNGOVERNED },
      {
        name: 'empty',
        state: 'pending',
        problem: 'no process fits',
        maxOverhead: 0.05,
        governed: {
          thinned: true,
          counted: 3,
          withdrawn: 2,
          withdrawals: 5,
          suspended: 1,
          unwatched: true,
          suspensions: 6,
        },
      },
    ],
    programs: [{ program: 'enter', runTimeNs: 250_000_000, runCount: 100 }],
    maps: [{ map: 'open_calls', entries: 8, maxEntries: 8_192 }],
    sinks: [
      {
        name: 'otlp',
        queuedSpans: 10,
        queuedBytes: 11,
        spooledSpans: 12,
        spooledBytes: 13,
        delivered: 14,
        repeated: 15,
        retries: 16,
        lost: { export: 17 },
      },
    ],
    targets: 2,
  };
}

test('the budget of the host is told where there is one', async () => {
  const name = 'underspan_overhead_host_budget_ratio';
  const told = async (maxOverhead: number): Promise<number[]> => {
    const limits = { maxOverhead } as LimitsConfig;
    const text = await parsed(metricsOf({ hostBudget: hostBudget({ limits }) }));
    return text.samples(name).map(({ value }) => value);
  };
  assert.deepEqual(await told(0.1), [0.1 * cpus().length]);
  assert.deepEqual(await told(1), []);
});
