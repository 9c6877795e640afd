/** Every call one span, every parent right: compared with what the shop logged of itself. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkSpans, type CheckedSpan, describe } from '../tools/check.js';
import { inFolder } from '../tools/folder.js';
import { runLoad } from '../tools/load.js';
import { requireBpf } from '../tools/require.js';
import { Shop } from '../tools/shop.js';
import { totalLost, Tracer } from '../tools/tracer.js';
import { Truth } from '../tools/truth.js';

const SYMBOLS = ['--symbol', 'main.*', '--symbol', 'net/http.(*ServeMux).ServeHTTP'];
/** Wrappers that the compiler makes, of which the shop knows nothing. */
const NOT_LOGGED = /\.deferwrap\d+$|^main\.main$|^main\.\(\*Cart\)\.Total$/;
const RING = ['--ring-size', '64MiB'];

interface Outcome {
  calls: number;
  spans: number;
  sources: Set<unknown>;
}

/** Loads a freshly traced shop and compares all that its log holds. */
async function compare(
  path: string,
  requests: number,
  concurrency: number,
  env: Record<string, string> = {},
  flags: string[] = [],
  options: string[] = [],
): Promise<Outcome> {
  return inFolder(async (folder) => {
    const log = join(folder, 'truth.jsonl');
    const shop = await Shop.start({ truth: log, env, build: { flags } });
    let tracer: Tracer | undefined;
    try {
      tracer = await Tracer.attach(['--pid', String(shop.pid), ...RING, ...options, ...SYMBOLS]);
      const since = BigInt(Date.now()) * 1_000_000n;
      const load = await runLoad({ urls: [shop.url + path], requests, concurrency });
      assert.equal(load.failures, 0, load.firstFailure ?? '');
      assert.equal(await tracer.stop(), 0, tracer.stderr);
      const until = BigInt(Date.now()) * 1_000_000n;
      await shop.flush();
      const truth = await Truth.read(log);
      const traced = new Set(
        tracer.result.functions
          .map(({ name }) => name.replace(/\[.*\]/, '[...]'))
          .filter((name) => !NOT_LOGGED.test(name)),
      );
      const spans = tracer.spans.map((span): CheckedSpan => ({
        ...span,
        startTimeUnixNano: BigInt(span.startTimeUnixNano),
      }));
      const differences = checkSpans(truth, spans, { traced, since, until }).filter(
        // Without types no *http.Request is told from other pointers; the span that is current then
        // is the same.
        ({ kind, actual }) => !(flags.length > 0 && kind === 'source' && actual === 'go.sdk'),
      );
      assert.equal(
        differences.length,
        0,
        `${differences.length} differences:\n${differences.slice(0, 10).map(describe).join('\n')}\n${JSON.stringify(tracer.result.lost)}`,
      );
      const { functions } = tracer.result;
      const calls = functions.reduce((sum, each) => sum + each.calls, 0);
      assert.equal(tracer.spans.length + totalLost(tracer.result), calls);
      return {
        calls,
        spans: tracer.spans.length,
        sources: new Set(
          tracer.spans.map(({ attributes }) => attributes['underspan.context.source']),
        ),
      };
    } finally {
      tracer?.child.kill('SIGKILL');
      await shop.stop();
    }
  });
}

test('5,000 requests, 32 at a time: every span in its request and under its parent', async (t) => {
  if (!requireBpf(t)) return;
  const { calls, spans, sources } = await compare('/order', 5_000, 32);
  t.diagnostic(`${calls} calls, ${spans} spans`);
  assert.ok(spans >= 5_000 * 10, `only ${spans} spans`);
  assert.ok(sources.has('go.context') && sources.has('go.sdk'), [...sources].join());
});

test('5,000 requests, through perf buffers', async (t) => {
  if (!requireBpf(t)) return;
  const { calls, spans } = await compare('/order', 5_000, 32, {}, [], ['--transport', 'perf']);
  t.diagnostic(`${calls} calls, ${spans} spans`);
  assert.ok(spans >= 5_000 * 10, `only ${spans} spans`);
});

test('10,000 requests in which a panic is recovered three frames up', async (t) => {
  if (!requireBpf(t)) return;
  const { calls, spans } = await compare('/panic?n=1', 10_000, 16);
  t.diagnostic(`${calls} calls, ${spans} spans`);
});

test('10,000 requests under constant stack growth and garbage collection', async (t) => {
  if (!requireBpf(t)) return;
  const { calls, spans } = await compare('/deep?n=10', 10_000, 16, {
    GOGC: '5',
    GODEBUG: 'gcshrinkstackoff=0',
  });
  t.diagnostic(`${calls} calls, ${spans} spans`);
});

test('10,000 goroutines that are started within spans inherit them', async (t) => {
  if (!requireBpf(t)) return;
  const { calls, spans, sources } = await compare('/burn?calls=3&goroutines=2', 5_000, 16);
  t.diagnostic(`${calls} calls, ${spans} spans`);
  assert.ok(sources.has('go.goroutine'), [...sources].join());
});

test('goroutines that exit in the midst of their calls', async (t) => {
  if (!requireBpf(t)) return;
  const { calls, spans } = await compare('/exit?n=2', 1_000, 8);
  t.diagnostic(`${calls} calls, ${spans} spans`);
});

test('5,000 requests to a shop without symbols and without DWARF', async (t) => {
  if (!requireBpf(t)) return;
  const { calls, spans, sources } = await compare('/order', 5_000, 32, {}, ['-ldflags=-s -w']);
  t.diagnostic(`${calls} calls, ${spans} spans`);
  assert.ok(sources.has('go.context') && sources.has('go.sdk'), [...sources].join());
});
