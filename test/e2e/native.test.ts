/** C and C++: counts, ends and parents against the program's own count, and shared libraries. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { inFolder } from '../tools/folder.js';
import {
  Caller,
  compileNative,
  edgesOf,
  ENDS_FUNCTIONS,
  type EndsCounts,
  type EndsSource,
  expectedEdges,
  spansOutside,
  traceEnds,
} from '../tools/native-targets.js';
import { sleep } from '../tools/process.js';
import { requireBpf, requireCommands } from '../tools/require.js';
import { type JsonSpan, totalLost, Tracer } from '../tools/tracer.js';

const ROUNDS = 24;

interface Build {
  compiler: string;
  source: EndsSource;
  options: string[];
  /** Of the tracer. */
  args?: string[];
}

const LEVELS: string[][] = [
  ['-O0'],
  ['-O2', '-fcf-protection'],
  ['-O3'],
  ['-O2', '-fomit-frame-pointer', '-fno-plt'],
  ['-O1', '-static'],
  ['-O2', '-no-pie'],
  ['-flto', '-O2'],
];

const of = (compiler: string, source: EndsSource, ...levels: string[][]): Build[] =>
  levels.map((options) => ({ compiler, source, options }));

const builds: Build[] = [
  ...of('g++', 'ends.cc', ...LEVELS),
  ...of('clang++', 'ends.cc', ...LEVELS),
  { compiler: 'g++', source: 'ends.cc', options: ['-O2'], args: ['--transport', 'perf'] },
  ...of('gcc', 'ends.c', ['-O2']),
  ...of('clang', 'ends.c', ['-Os']),
  ...of('musl-gcc', 'ends.c', ...LEVELS, ['-O2', '-static'], ['-O2', '-static-pie']),
];

/** Nothing but a linker of its own reads what clang writes with -flto. */
const linkerOf = ({ compiler, options }: Build): string[] =>
  compiler === 'clang++' && options.includes('-flto') ? ['ld.lld'] : [];

for (const build of builds) {
  const { compiler, source, options, args = [] } = build;
  test(`every end: ${[compiler, ...options, ...args].join(' ')}`, async (t) => {
    if (!requireBpf(t)) return;
    const linker = linkerOf(build);
    if (!requireCommands(t, [compiler, ...linker])) return;
    await inFolder(async (folder) => {
      const program = await compileNative(compiler, source, join(folder, 'ends'), [
        ...options,
        ...(linker.length > 0 ? ['-fuse-ld=lld'] : []),
      ]);
      const { tracer, counted, status } = await traceEnds(source, program, ROUNDS, args);
      assert.equal(status, 0, tracer.stderr);
      assertCounted(tracer, source, counted);
      const tailJumps = !options.includes('-O0') && !options.includes('-O1');
      const edges = expectedEdges(source, counted, tailJumps);
      assert.deepEqual(edgesOf(tracer.spans), edges);
      assert.deepEqual(spansOutside(tracer.spans), []);
      assertJumps(tracer.spans);
    });
  });
}

/** What longjmp leaves ends there, and not when the call that comes next shows that it is gone. */
function assertJumps(spans: readonly JsonSpan[]): void {
  const left = spans.filter(({ name, status }) => name === 'jumper' && status.code === 'error');
  for (const { parentSpanId, endTimeUnixNano } of left) {
    const next = spans.find((span) => span.name === 'leaf' && span.parentSpanId === parentSpanId);
    assert.ok(next);
    assert.ok(BigInt(endTimeUnixNano) < BigInt(next.startTimeUnixNano), 'it ended with the next');
  }
}

/** Its calls end with their threads. */
const WITH_THREAD = ['exiter', 'cancelled'];

/** calls = spans = the program's own count, and errors are those that were unwound. */
function assertCounted({ result, spans }: Tracer, source: EndsSource, counted: EndsCounts): void {
  assert.deepEqual(Object.keys(counted).sort(), [...ENDS_FUNCTIONS[source]].sort());
  const expected = Object.entries(counted).map(([name, [calls, unwound]]) => {
    const errors = WITH_THREAD.includes(name) ? 0 : unwound;
    return { name, calls, spans: calls, errors };
  });
  const summed = result.functions.map(({ name, calls, spans, errors }) => {
    return { name, calls, spans, errors };
  });
  assert.deepEqual(summed.sort(byName), expected.sort(byName));
  const written = expected.map(({ name }) => {
    const own = spans.filter((span) => span.name === name);
    const errors = own.filter(({ status }) => status.code === 'error').length;
    return { name, calls: own.length, spans: own.length, errors };
  });
  assert.deepEqual(written, expected);
  assert.equal(totalLost(result), 0, JSON.stringify(result.lost));
}

const byName = (a: { name: string }, b: { name: string }): number => (a.name < b.name ? -1 : 1);

const LIBRARY = 'libtraced.so';
const WORK = `${LIBRARY}:library_work`;

const buildLibrary = (compiler: string, folder: string): Promise<string> =>
  compileNative(compiler, 'library.c', join(folder, LIBRARY), ['-O2', '-shared', '-fPIC']);

for (const compiler of ['gcc', 'musl-gcc']) {
  test(`functions of a library that the program is linked with: ${compiler}`, async (t) => {
    if (!requireBpf(t) || !requireCommands(t, [compiler])) return;
    await inFolder(async (folder) => {
      const library = await buildLibrary(compiler, folder);
      const program = await compileNative(compiler, 'caller.c', join(folder, 'caller'), [
        ...['-O2', '-DLINKED', library],
      ]);
      const caller = await Caller.start(program);
      // Another process of the library, which is not traced.
      const other = await Caller.start(program);
      try {
        const before = await caller.call(3);
        const tracer = await Tracer.attach(['--pid', String(caller.pid), `${LIBRARY}:library_*`]);
        await other.call(50);
        const calls = (await caller.call(200)) - before;
        assert.equal(await tracer.stop(), 0, tracer.stderr);
        const { functions } = tracer.result;
        assert.deepEqual(
          functions.map(({ name, calls, spans }) => [name, calls, spans]).sort(),
          ['library_inner', 'library_work'].map((name) => [name, calls, calls]),
        );
        assert.deepEqual(edgesOf(tracer.spans), {
          'none > library_work': calls,
          'library_work > library_inner': calls,
        });
        assert.deepEqual(spansOutside(tracer.spans), []);
        assert.equal(totalLost(tracer.result), 0, JSON.stringify(tracer.result.lost));
      } finally {
        await Promise.all([caller.stop(), other.stop()]);
      }
    });
  });

  test(`functions of a library that is loaded later: ${compiler}`, async (t) => {
    if (!requireBpf(t) || !requireCommands(t, [compiler])) return;
    await inFolder(async (folder) => {
      const library = await buildLibrary(compiler, folder);
      const program = await compileNative(compiler, 'caller.c', join(folder, 'caller'), ['-O2']);
      const caller = await Caller.start(program);
      try {
        const tracer = await Tracer.attach(['--pid', String(caller.pid), WORK]);
        // It calls at once; these calls may be missed.
        let calls = await caller.load(library);
        calls = await caller.call(10);
        for (const deadline = Date.now() + 20_000; !isNoticed(tracer);) {
          assert.ok(Date.now() < deadline, `not noticed:\n${tracer.stderr}`);
          await sleep(10);
        }
        const before = calls;
        calls = await caller.call(100);
        assert.equal(await tracer.stop(), 0, tracer.stderr);
        const [work] = tracer.result.functions;
        const seen = work?.calls ?? 0;
        t.diagnostic(`${calls - seen} of the first ${before} calls were missed`);
        assert.ok(seen >= calls - before, `${seen} of ${calls}`);
        assert.ok(seen <= calls, `${seen} of ${calls}`);
        assert.equal(work?.spans, seen);
        assert.equal(tracer.spans.length, seen);
        assert.equal(totalLost(tracer.result), 0, JSON.stringify(tracer.result.lost));
      } finally {
        await caller.stop();
      }
    });
  });
}

const isNoticed = ({ notices }: Tracer): boolean =>
  notices.some(({ code, message }) => code === 'PROCESS_FOLLOWED' && message.includes(LIBRARY));

// Linux 6.18 puts a call in the place of this nop, to a page that forked children do not have.
test('forked children of a program whose functions begin with a nop of five bytes live', async (t) => {
  if (!requireBpf(t) || !requireCommands(t, ['gcc'])) return;
  await inFolder(async (folder) => {
    const file = await compileNative('gcc', 'nops.c', join(folder, 'nops'), ['-O2']);
    const tracer = Tracer.start(['framed', 'bare', '--', file]);
    assert.equal(await tracer.ended(), 0, tracer.stderr);
    const counted = tracer.result.functions.map(({ name, calls }) => [name, calls]);
    assert.deepEqual(Object.fromEntries(counted), { framed: 4_000, bare: 4_000 });
  });
});
