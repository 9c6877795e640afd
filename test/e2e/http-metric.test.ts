/** http_server_request_duration_seconds against what programs counted themselves. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { AgentProcess } from '../tools/agent.js';
import { Answers } from '../tools/answers.js';
import { inFolder } from '../tools/folder.js';
import { buildTarget } from '../tools/go.js';
import { buildVariant, GO_BUILDS, GO_RELEASES } from '../tools/go-builds.js';
import type { OpenMetricsText } from '../tools/openmetrics.js';
import { checkMetrics } from '../tools/promtool.js';
import { missingBpf, obtained } from '../tools/require.js';

const METRIC = 'http_server_request_duration_seconds';

const HANDLERS = [
  { symbol: 'main.(*Plain).ServeHTTP', route: '/plain' },
  { symbol: 'main.(*Wrapped).ServeHTTP', route: '/wrapped' },
  { symbol: 'main.(*Outer).ServeHTTP', route: '/outer' },
  { symbol: 'main.(*Inner).ServeHTTP', route: '/inner' },
  { symbol: 'main.(*Limited).ServeHTTP', route: '/limited' },
  { symbol: 'main.function', route: '/function' },
];
const PATHS = ['/plain', '/wrapped', '/outer', '/limited', '/function'];

/** Every way of answering, each with the methods that bear it. */
const WAYS = [
  '?how=body',
  '',
  '?how=status&status=204',
  '?how=status&status=402',
  '?how=error&status=404',
  '?how=twice&status=402',
  '?how=status&status=503',
  '?how=panic',
  '?how=late',
  '?how=abort',
];
const METHODS = ['GET', 'POST', 'HEAD', 'DELETE', 'OPTIONS', 'BREW', 'PROPFIND', 'UNSUBSCRIBE'];
/** What the semantic conventions do not know is one series. */
const OTHERS = new Set(['BREW', 'PROPFIND', 'UNSUBSCRIBE']);

const config = (binary: string, trace: object): object => ({
  rules: [
    {
      name: 'answers',
      select: { executable: binary },
      trace: { symbols: ['main.(*Plain).ServeHTTP'], maxOverhead: '100%', ...trace },
      http: HANDLERS,
    },
  ],
  export: { otlp: false },
});

type Counts = Record<string, number>;

function add(counts: Counts, route: string, method: string, status: string, count: number): void {
  const key = `${route} ${OTHERS.has(method) ? '_OTHER' : method} ${status}`;
  counts[key] = (counts[key] ?? 0) + count;
}

const sorted = (counts: Counts): Counts =>
  Object.fromEntries(Object.entries(counts).sort(([a], [b]) => (a < b ? -1 : 1)));

async function known(program: Answers): Promise<Counts> {
  const counts: Counts = {};
  for (const { route, method, status, count } of await program.counts()) {
    add(counts, route, method, String(status), count);
  }
  return sorted(counts);
}

function measured(text: OpenMetricsText): Counts {
  const counts: Counts = {};
  for (const { labels, value } of text.samples(`${METRIC}_count`, { rule: 'answers' })) {
    const { http_route = '', http_request_method = '', http_response_status_code = '' } = labels;
    add(counts, http_route, http_request_method, http_response_status_code, value);
  }
  return sorted(counts);
}

/** A mixture of everything, over HTTP/1.1 and HTTP/2, concurrently. */
async function askEverything(program: Answers, early: boolean): Promise<void> {
  const ways = early ? [...WAYS, '?how=early&status=402'] : WAYS;
  const asked = PATHS.flatMap((path) =>
    ways.flatMap((way) => METHODS.map((method) => ({ path: path + way, method }))),
  );
  await Promise.all(asked.map(({ path, method }) => program.ask(path, method)));
  await program.askAll(asked);
}

const OLDEST = GO_RELEASES[0];
const NEWEST = GO_RELEASES.at(-1) ?? OLDEST;

/** The program, built by a release, beside an agent that counts its requests. */
async function withProgram(
  binary: string,
  trace: object,
  run: (program: Answers, agent: AgentProcess) => Promise<void>,
): Promise<void> {
  await inFolder(async (folder) => {
    const program = await Answers.start(binary);
    try {
      const agent = await AgentProcess.start(folder, {
        config: config(binary, trace),
        metrics: { maxSeries: 5_000 },
      });
      try {
        await run(program, agent);
      } finally {
        await agent.stop();
      }
    } finally {
      await program.stop();
    }
  });
}

describe('requests', { skip: missingBpf() }, () => {
  for (const release of [OLDEST, NEWEST]) {
    test(`of a program that Go ${release} built, in every way`, async (t) => {
      const [build] = GO_BUILDS;
      assert.ok(build);
      const binary = await obtained(t, buildVariant('http', release, build, 'go.mod'));
      if (binary === null) return;
      // Requests are counted whatever becomes of spans.
      await withProgram(binary, { maxRate: 1, minDuration: '1h' }, async (program, agent) => {
        const early = release !== OLDEST;
        await askEverything(program, early);
        const text = await agent.metrics();
        assert.deepEqual(measured(text), await known(program));
        const ways = WAYS.length + (early ? 1 : 0);
        const calls = { function: 'main.function' };
        // Over HTTP/1.1 and over HTTP/2.
        const asked = 2 * ways * METHODS.length;
        assert.equal(text.value('underspan_function_calls_total', calls), asked);
        assert.equal(text.value('underspan_http_uncounted_requests_total'), 0);
      });
    });
  }

  test("have the durations of the handler's calls", async () => {
    await withProgram(await buildTarget('http'), {}, async (program, agent) => {
      const slow = 20;
      const waits = Array.from({ length: slow }, () => program.ask('/plain?how=body&wait=60ms'));
      const quick = Array.from({ length: 30 }, () => program.ask('/wrapped?how=error&status=404'));
      await Promise.all([...waits, ...quick]);
      const text = await agent.metrics();
      const plain = { http_route: '/plain' };
      assert.equal(text.value(`${METRIC}_bucket`, { ...plain, le: '0.05' }), 0);
      assert.equal(text.value(`${METRIC}_bucket`, { ...plain, le: '+Inf' }), slow);
      const seconds = text.value(`${METRIC}_sum`, plain);
      assert.ok(seconds >= slow * 0.06, `${seconds} s`);
      // The same calls, counted as those of a function.
      const duration = 'underspan_function_duration_seconds';
      const handler = { function: 'main.(*Plain).ServeHTTP' };
      assert.equal(text.value(`${duration}_count`, handler), slow);
      assert.ok(Math.abs(text.value(`${duration}_sum`, handler) - seconds) < 1e-9);
      const { ok, output } = await checkMetrics(text.text);
      assert.ok(ok, output);
    });
  });

  test('that find no room in the kernel are counted as such', async () => {
    await withProgram(await buildTarget('http'), {}, async (program, agent) => {
      const asked = Array.from({ length: 800 }, (_, n) =>
        ['GET', 'POST', 'PUT'].map((method) => ({
          path: `/function?how=status&status=${200 + n}`,
          method,
        })),
      ).flat();
      await Promise.all(asked.map(({ path, method }) => program.ask(path, method)));
      const text = await agent.metrics();
      const counted = Object.values(measured(text)).reduce((sum, count) => sum + count, 0);
      const uncounted = text.value('underspan_http_uncounted_requests_total', { rule: 'answers' });
      assert.ok(uncounted > 0, `all ${counted} found room`);
      assert.equal(counted + uncounted, asked.length);
    });
  });
});
