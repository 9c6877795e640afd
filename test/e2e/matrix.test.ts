/** Every Go version, every way to build: calls as the program counted them, and where each belongs. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { inFolder } from '../tools/folder.js';
import { buildVariant, GO_BUILDS, GO_RELEASES, type GoBuild } from '../tools/go-builds.js';
import { requireBpf } from '../tools/require.js';
import { type JsonSpan, totalLost, Tracer } from '../tools/tracer.js';
import { plainName } from '../tools/truth.js';

const ROUNDS = 25;
const GOROUTINES = 4;

/** Functions that say nothing of themselves, with their calls a round. */
const SILENT: Record<string, number> = { 'main.leaf': 1, 'main.assembly': 1 };
/** Of the method value one call a round is made through a wrapper. */
const FUNCTIONS =
  '/^main\\.(point\\.value|\\(\\*counter\\)\\.pointer|generic|third|onStack|leaf|nothing|assembly|' +
  'recursive|even|odd|grow|migrate|guard|fall|exits|custom|distant|remote|handed|inherits|' +
  'labelled|current|unsampled)(\\[.*\\])?$/';

interface Known {
  calls: Record<string, number>;
  spans: Record<string, string>;
  /** Function → the function that calls it, besides a span; "span" of those that only spans are above. */
  parents: Record<string, string>;
}

const nameOf = ({ name }: { name: string }): string => plainName(name);

/** How a call's context is found; in programs without types it may be found as the current one. */
const SOURCES: Record<string, string> = {
  'main.inherits': 'go.goroutine',
  'main.labelled': 'go.labels',
  'main.current': 'go.sdk',
  'main.even': 'go.sdk',
  'main.odd': 'go.sdk',
  'main.leaf': 'go.sdk',
  'main.assembly': 'go.sdk',
};
/** Handed over to where no other source could find them. */
const EXPLICIT = ['main.handed', 'main.exits', 'main.remote', 'main.distant', 'main.unsampled'];

function check(known: Known, spans: readonly JsonSpan[], typed: boolean): void {
  const byId = new Map(spans.map((span) => [span.spanId, span]));
  assert.equal(byId.size, spans.length, 'a span came twice');
  for (const span of spans) {
    const name = nameOf(span);
    const parent = byId.get(span.parentSpanId ?? '');
    const trace = known.spans[span.parentSpanId ?? ''];
    const caller = known.parents[name];
    const what = `${name} under ${parent ? nameOf(parent) : trace ? 'its span' : 'nothing'}`;
    if (parent) {
      const allowed =
        caller === nameOf(parent) || (name === 'main.fall' && nameOf(parent) === 'main.guard');
      assert.ok(allowed, what);
      assert.equal(span.traceId, parent.traceId, what);
    } else {
      assert.ok(trace !== undefined, what);
      assert.equal(span.traceId, trace, what);
    }
    const source = String(span.attributes['underspan.context.source']);
    const expected = SOURCES[name] ?? 'go.context';
    if (typed || EXPLICIT.includes(name) || expected !== 'go.context') {
      assert.equal(source, expected, what);
    }
    const unwound = name === 'main.fall';
    assert.equal(span.status.code, unwound ? 'error' : 'unset', what);
    if (unwound) assert.equal(span.status.message, 'panic: fallen', what);
  }
}

async function trace(binary: string, typed: boolean): Promise<string> {
  return inFolder(async (folder) => {
    const file = join(folder, 'known.json');
    const tracer = Tracer.start([
      ...['--context-hops', '100', '--unsampled', '--ring-size', '16M', '--symbol', FUNCTIONS],
      ...['--', binary, file, String(ROUNDS)],
    ]);
    assert.equal(await tracer.ended(), 0, tracer.stderr);
    const known = JSON.parse(await readFile(file, 'utf8')) as Known;
    for (const [name, calls] of Object.entries(SILENT)) {
      known.calls[name] = calls * ROUNDS * GOROUTINES;
    }
    const calls: Record<string, number> = {};
    for (const counted of tracer.result.functions) {
      const name = nameOf(counted);
      calls[name] = (calls[name] ?? 0) + counted.calls;
    }
    assert.deepEqual(calls, known.calls);
    const total = Object.values(calls).reduce((sum, count) => sum + count, 0);
    assert.equal(tracer.spans.length, total, JSON.stringify(tracer.result.lost));
    assert.equal(totalLost(tracer.result), 0);
    check(known, tracer.spans, typed);
    return `${total} calls`;
  });
}

const hasTypes = ({ name }: GoBuild): boolean => !/strip|-s/.test(name);

for (const release of GO_RELEASES) {
  const minor = Number(release.split('.')[1]);
  // All builds where formats differ most; in between those that most programs are.
  const all = [18, 20, 24, 27].includes(minor);
  describe(`Go ${release}`, () => {
    for (const build of GO_BUILDS.filter((_, index) => all || index < 3)) {
      test(build.name, async (t) => {
        if (!requireBpf(t)) return;
        let binary: string;
        try {
          binary = await buildVariant('matrix', release, build);
        } catch (error) {
          t.skip(
            `this toolchain does not build it: ${String(error).split('\n').slice(0, 3).join(' ')}`,
          );
          return;
        }
        t.diagnostic(await trace(binary, hasTypes(build)));
      });
    }
  });
}

/** Versions of the SDK between which its spans changed, each with a Go version that builds it. */
const SDKS = [
  ['1.4.1', '1.20.14'],
  ['1.16.0', '1.20.14'],
  ['1.19.0', '1.22.10'],
  ['1.20.0', '1.22.10'],
  ['1.31.0', '1.24.4'],
  ['1.38.0', '1.26.8'],
] as const;

for (const [sdk, release] of SDKS) {
  describe(`OpenTelemetry SDK v${sdk}`, () => {
    for (const build of GO_BUILDS.slice(0, 2)) {
      test(build.name, async (t) => {
        if (!requireBpf(t)) return;
        const binary = await buildVariant('matrix', release, build, `sdk-${sdk}.mod`);
        t.diagnostic(await trace(binary, hasTypes(build)));
      });
    }
  });
}
