/** What calls of C, C++ and Rust were called with and returned, against what the programs print. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { debianPackage } from '../tools/debian.js';
import { projectRoot } from '../tools/go.js';
import { obtained, requireBpf, requireCommands } from '../tools/require.js';
import { type JsonSpan, Tracer } from '../tools/tracer.js';

const ROUNDS = 24;
const directory = mkdtempSync(join(tmpdir(), 'underspan-values-'));
after(() => {
  rmSync(directory, { recursive: true });
});

type Build = [source: string, compiler: string, flags: string[]];

const BUILDS: Build[] = [
  ['values.c', 'gcc', ['-g', '-O0']],
  ['values.c', 'gcc', ['-g', '-O2', '-fcf-protection']],
  ['values.c', 'gcc', ['-gdwarf-3', '-gstrict-dwarf', '-O1']],
  ['values.c', 'clang', ['-g', '-O2', '-fomit-frame-pointer']],
  ['values.c', 'clang', ['-gdwarf-3', '-O1']],
  ['values.cc', 'g++', ['-g', '-O0', '-std=c++17']],
  ['values.cc', 'g++', ['-g', '-O3', '-std=c++17']],
  ['values.cc', 'clang++', ['-g', '-O2', '-std=c++17']],
  ['values.rs', 'rustc', ['-g']],
  ['values.rs', 'rustc', ['-g', '-Copt-level=2']],
];

type Line = Record<string, string | number | boolean>;

/** Spans by function, in the order of their calls, and what the program says of the same calls. */
async function run(
  [source, compiler, flags]: Build,
  options: string[],
): Promise<{
  tracer: Tracer;
  spans: (name: string) => JsonSpan[];
  lines: (name: string) => Line[];
}> {
  const hash = createHash('sha256').update(flags.join(' ')).digest('hex');
  const binary = join(directory, `${compiler}-${hash.slice(0, 8)}`);
  execFileSync(compiler, [
    ...['-o', binary, join(projectRoot, 'test/targets/native-values', source)],
    // Libraries among them come behind what needs them.
    ...flags,
  ]);
  const printed = `${binary}.out`;
  const tracer = Tracer.start([...options, '--', binary, String(ROUNDS), printed]);
  assert.equal(await tracer.ended(), 0, tracer.stderr);
  const all = readFileSync(printed, 'utf8').trim().split('\n');
  const lines = all.map((line) => JSON.parse(line) as Line);
  return {
    tracer,
    lines: (name) => lines.filter((line) => line['function'] === name),
    spans: (name) =>
      tracer.spans
        .filter((span) => span.name.endsWith(name))
        .sort((a, b) => Number(BigInt(a.startTimeUnixNano) - BigInt(b.startTimeUnixNano))),
  };
}

const arg = (span: JsonSpan | undefined, name: string): unknown =>
  span?.attributes[`underspan.arg.${name}`];
const result = (span: JsonSpan | undefined): unknown => span?.attributes['underspan.return.0'];

function compare(
  count: number,
  spans: JsonSpan[],
  check: (span: JsonSpan, at: number) => void,
): void {
  assert.equal(spans.length, count);
  spans.forEach(check);
}

for (const build of BUILDS) {
  const [source, compiler, flags] = build;
  test(`${source} by ${compiler} ${flags.join(' ')}`, async (t) => {
    if (!requireBpf(t) || !requireCommands(t, [compiler])) return;
    if (source === 'values.c') await checkC(build);
    else if (source === 'values.cc') await checkCpp(build);
    else await checkRust(build);
  });
}

/** The library is unpacked: its packages want another libunwind-dev than people may have. */
async function libcxx(): Promise<string[]> {
  const [headers, abi] = await Promise.all(
    ['libc++-14-dev', 'libc++abi-14-dev'].map(async (name) =>
      join(await debianPackage('bookworm', name), 'usr/lib/llvm-14'),
    ),
  );
  assert.ok(headers !== undefined && abi !== undefined);
  return [
    ...['-nostdinc++', '-isystem', join(headers, 'include/c++/v1'), '-nostdlib++', '-pthread'],
    ...[join(headers, 'lib/libc++.a'), join(abi, 'lib/libc++abi.a')],
  ];
}

for (const level of ['-O0', '-O2']) {
  test(`values.cc by clang++ ${level} with libc++`, async (t) => {
    if (!requireBpf(t) || !requireCommands(t, ['clang++'])) return;
    const library = await obtained(t, libcxx());
    if (library === null) return;
    await checkCpp(['values.cc', 'clang++', ['-g', level, '-std=c++17', ...library]]);
  });
}

async function checkC(build: Build): Promise<void> {
  const { tracer, spans, lines } = await run(build, [
    ...['--arg', '*', '--arg', 'l.label', '--arg', 'l.next.text', '--return'],
    ...['--errors', 'negative', '--errors', 'null', 'visit', 'find', 'bits'],
  ]);
  const said = lines('visit');
  compare(said.length, spans('visit'), (span, at) => {
    const { id, label, s, a, b, v, n, c, result: returned } = said[at] ?? {};
    const isNull = at % 5 === 4;
    assert.equal(arg(span, 'l.id'), isNull ? 'null' : id);
    assert.equal(arg(span, 'l.label'), isNull ? 'null' : label);
    assert.equal(arg(span, 'l.text'), isNull ? 'null' : 'text b');
    assert.equal(arg(span, 'l.next.text'), isNull ? 'null' : 'text a');
    assert.equal(arg(span, 's'), at % 4 === 3 ? 'null' : cut(String(s)));
    assert.deepEqual([arg(span, 't.a'), arg(span, 't.b')], [a, b]);
    assert.equal(arg(span, 'b.v'), `[1 ${String(v)} 3 0 0]`);
    assert.deepEqual([arg(span, 'n'), arg(span, 'c'), result(span)], [n, c, returned]);
    const isError = Number(returned) < 0;
    const status = isError ? { code: 'error', message: `returned ${String(returned)}` } : null;
    assert.deepEqual(span.status, status ?? { code: 'unset' });
  });
  assert.ok(tracer.notices.some(({ message }) => /floating-point register/.test(message)));
  const found = lines('find');
  compare(found.length, spans('find'), (span, at) => {
    const { key, n, result: returned } = found[at] ?? {};
    assert.deepEqual([arg(span, 'key'), arg(span, 'n')], [key, n]);
    assert.equal(result(span), returned === '' ? 'null' : returned);
    const status = returned === '' ? { code: 'error', message: 'returned null' } : null;
    assert.deepEqual(span.status, status ?? { code: 'unset' });
  });
  const sets = lines('bits');
  compare(sets.length, spans('bits'), (span, at) => {
    const shown = BITS.map((name) => arg(span, name));
    assert.deepEqual(
      shown,
      BITS.map((name) => sets[at]?.[name]),
    );
  });
}

/** `t.b` is wider than a number. */
const BITS = ['p.a', 'p.b', 'p.c', 'p.d', 'p.e', 'p.f', 'f.a', 'f.b', 'f.c', 't.a', 't.b', 't.c'];

const cut = (text: string): string => (text.length > 128 ? `${text.slice(0, 128)}…` : text);

async function checkCpp(build: Build): Promise<void> {
  const { spans, lines } = await run(build, ['--arg', '*', '--return', 'shop::Till::label']);
  const said = lines('label');
  compare(said.length, spans('Till::label'), (span, at) => {
    const { number, id, name, on, text, view, out, result: returned } = said[at] ?? {};
    assert.equal(arg(span, 'this.number_'), number);
    assert.equal(arg(span, 'item.id'), id);
    assert.equal(arg(span, 'item.name'), cut(String(name)));
    assert.equal(arg(span, 'item.on'), on);
    assert.equal(arg(span, 'text'), text);
    assert.equal(arg(span, 'view'), view);
    assert.equal(arg(span, 'out'), out);
    assert.equal(result(span), cut(String(returned)));
    assert.deepEqual(span.status, { code: 'unset' });
  });
}

/** Parts of variants; where a call has another variant, its name. */
const STEPS = ['step.Moved.x', 'step.Moved.to.1', 'step.Sized', 'count.Some'];

async function checkRust(build: Build): Promise<void> {
  const { tracer, spans, lines } = await run(build, [
    ...['--arg', '*', '--arg', 'order.place.1', '--return'],
    ...STEPS.flatMap((path) => ['--arg', path]),
    'values::steps',
    ...['values::texts', 'values::in_memory', 'values::in_registers', 'values::packed'],
  ]);
  const isOptimised = build[2].length > 1;
  const said = lines('texts');
  compare(said.length, spans('texts'), (span, at) => {
    const line = said[at] ?? {};
    const has: Line = {
      ...line,
      ...{ s: cut(String(line['s'])), name: cut(String(line['name'])) },
    };
    const shown = {
      s: arg(span, 's'),
      u: arg(span, 'u'),
      o: arg(span, 'o'),
      v: String(arg(span, 'v')).split(/\d+/).length - 1,
      number: arg(span, 'order.number'),
      name: arg(span, 'order.name'),
      place: arg(span, 'order.place.1'),
      result: result(span),
    };
    // What the compiler has changed is left out, and never wrong.
    for (const [name, value] of Object.entries(shown)) {
      if (isOptimised && value === undefined) continue;
      if (isOptimised && name === 'v' && arg(span, 'v') === undefined) continue;
      assert.equal(value, has[name], `${name} of call ${String(at)}`);
    }
  });
  const steps = lines('steps');
  compare(steps.length, spans('steps'), (span, at) => {
    for (const path of STEPS) assert.equal(arg(span, path), steps[at]?.[path], path);
  });
  for (const name of ['in_memory', 'in_registers', 'packed']) {
    const calls = lines(name);
    compare(calls.length, spans(name), (span, at) => {
      const { n, error } = calls[at] ?? {};
      assert.equal(arg(span, 'n'), n);
      if (error === '') return assert.equal(span.status.code, 'unset');
      assert.deepEqual(span.status, { code: 'error', message: error });
    });
    const errors = calls.filter(({ error }) => error !== '').length;
    const counted = tracer.result.functions.find((each) => each.name.endsWith(name));
    assert.deepEqual([counted?.calls, counted?.errors], [calls.length, errors]);
  }
}
