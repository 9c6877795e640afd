/** Every source of context, against what the program itself says about each of its calls. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { inFolder } from '../tools/folder.js';
import { buildTarget } from '../tools/go.js';
import { requireBpf } from '../tools/require.js';
import { totalLost, Tracer } from '../tools/tracer.js';

type Parents = Record<string, Record<string, number>>;

/** How many calls of each function have which parent, "" for none. */
function parents(tracer: Tracer): Parents {
  const counts: Parents = {};
  for (const { name, parentSpanId } of tracer.spans) {
    const of = (counts[name] ??= {});
    of[parentSpanId ?? ''] = (of[parentSpanId ?? ''] ?? 0) + 1;
  }
  return counts;
}

function sources(tracer: Tracer): Record<string, string[]> {
  const found: Record<string, string[]> = {};
  for (const { name, attributes } of tracer.spans) {
    const source = String(attributes['underspan.context.source']);
    const of = (found[name] ??= []);
    if (!of.includes(source)) of.push(source);
  }
  return found;
}

const TRACED = [
  ...['first', 'third', 'onStack', 'fewWraps', 'manyWraps', 'customPointer', 'customValue'],
  ...['nilContext', 'typedNil', 'current', 'afterForeignEnd', 'inherited', 'inheritedNothing'],
  ...['inheritedFromCall', 'starts'],
];

async function runContexts(
  options: string[],
  flags: string[] = [],
): Promise<{ tracer: Tracer; truth: Parents }> {
  const binary = await buildTarget('contexts', { flags });
  return inFolder(async (folder) => {
    const file = join(folder, 'truth.json');
    const patterns = TRACED.flatMap((name) => ['--symbol', `main.${name}`]);
    const tracer = Tracer.start([
      '--ring-size',
      '64M',
      ...options,
      ...patterns,
      '--',
      binary,
      file,
    ]);
    assert.equal(await tracer.ended(), 0, tracer.stderr);
    assert.equal(totalLost(tracer.result), 0, JSON.stringify(tracer.result.lost));
    return { tracer, truth: JSON.parse(await readFile(file, 'utf8')) as Parents };
  });
}

for (const flags of [[], ['-ldflags=-s -w']]) {
  const how = flags.length > 0 ? 'stripped' : 'with DWARF';

  test(`every source of context (${how})`, async (t) => {
    if (!requireBpf(t)) return;
    const { tracer, truth } = await runContexts(['--context-hops', '100'], flags);
    // Without types only contexts in registers are told from other arguments.
    if (flags.length > 0) truth['main.onStack'] = { '': 1 };
    assert.deepEqual(parents(tracer), truth);
    const explicit = ['go.context'];
    assert.deepEqual(sources(tracer), {
      'main.first': explicit,
      'main.third': explicit,
      'main.onStack': flags.length > 0 ? ['none'] : explicit,
      'main.fewWraps': explicit,
      'main.manyWraps': explicit,
      'main.customPointer': explicit,
      'main.customValue': explicit,
      'main.nilContext': ['none'],
      'main.typedNil': ['none'],
      'main.current': ['go.sdk'],
      'main.afterForeignEnd': ['none'],
      'main.inherited': ['go.goroutine'],
      'main.inheritedNothing': ['none'],
      'main.inheritedFromCall': ['go.goroutine'],
      'main.starts': explicit,
    });
    const of = tracer.result.functions.find(({ name }) => name === 'main.inherited');
    assert.equal(of?.calls, 10_000);
    assert.deepEqual(tracer.result.contexts, { truncated: 0, unreadable: 0 });
  });
}

test('a context with more wrappers than are followed is a root, and counted', async (t) => {
  if (!requireBpf(t)) return;
  const { tracer } = await runContexts([]);
  const by = sources(tracer);
  assert.deepEqual(by['main.fewWraps'], ['go.context']);
  assert.deepEqual(by['main.manyWraps'], ['unreadable']);
  assert.deepEqual(Object.keys(parents(tracer)['main.manyWraps'] ?? {}), ['']);
  assert.equal(tracer.result.contexts.truncated, 1);
});

/** Labels are a map before Go 1.24, and a slice since. */
for (const version of ['go1.22.10', 'go1.26.8']) {
  test(`pprof labels that name a span (${version})`, async (t) => {
    if (!requireBpf(t)) return;
    const binary = await buildTarget('labels', { env: { GOTOOLCHAIN: version } });
    const tracer = Tracer.start([
      '/^main\\.(underscored|dotted|camel|traceparent|onChild|spanOnly|notHex|tooShort|unlabelled)$/',
      '--',
      binary,
    ]);
    assert.equal(await tracer.ended(), 0, tracer.stderr);
    const span = { b7ad6b7169203331: 1 };
    const none = { '': 1 };
    assert.deepEqual(parents(tracer), {
      'main.underscored': span,
      'main.dotted': span,
      'main.camel': span,
      'main.traceparent': span,
      'main.onChild': span,
      'main.spanOnly': none,
      'main.notHex': none,
      'main.tooShort': none,
      'main.unlabelled': none,
    });
    for (const { name, traceId, attributes } of tracer.spans) {
      const found = parents(tracer)[name] && !('' in (parents(tracer)[name] ?? {}));
      assert.equal(attributes['underspan.context.source'], found ? 'go.labels' : 'none', name);
      if (found) assert.equal(traceId, '0af7651916cd43dd8448eb211c80319c');
    }
  });
}
