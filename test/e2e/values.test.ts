/** What calls were called with and what they returned, against what the program must have used. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildTarget } from '../tools/go.js';
import { requireBpf } from '../tools/require.js';
import { type JsonSpan, Tracer } from '../tools/tracer.js';

async function run(options: string[], rounds: number, flags: string[] = []): Promise<Tracer> {
  const binary = await buildTarget('values', { flags });
  const tracer = Tracer.start(['--ring-size', '64M', ...options, '--', binary, String(rounds)], {
    GOGC: '10',
  });
  assert.equal(await tracer.ended(), 0, tracer.stderr);
  return tracer;
}

const of = (tracer: Tracer, name: string): JsonSpan[] =>
  tracer.spans
    .filter((span) => span.name === name)
    .sort((a, b) => Number(BigInt(a.startTimeUnixNano) - BigInt(b.startTimeUnixNano)));

/** Values of a span by the ends of their names. */
function values(span: JsonSpan | undefined): Record<string, unknown> {
  const pattern = /^underspan\.(arg|return)\./;
  return Object.fromEntries(
    Object.entries(span?.attributes ?? {})
      .filter(([name]) => pattern.test(name))
      .map(([name, value]) => [name.replace(/^underspan\.(?:arg\.)?/, ''), value]),
  );
}

test('arguments and results of every kind', async (t) => {
  if (!requireBpf(t)) return;
  const options = ['--arg', '*', '--arg', 'o.Next.ID', '--arg', 'o.First', '--return'];
  const tracer = await run([...options, '/^main\\.(numbers|texts|structs|stacked)$/'], 0);
  const [numbers, texts, structs, stacked] = ['numbers', 'texts', 'structs', 'stacked'].map(
    (name) => of(tracer, `main.${name}`),
  );
  assert.equal(numbers?.length, 8);
  assert.deepEqual(values(numbers[3]), {
    a: -3,
    b: -1,
    c: 3,
    d: false,
    e: 3 * 2 ** 40,
    g: '01020303',
    'return.0': -2,
    'return.1': 3,
    'return.2': true,
  });
  assert.ok(tracer.notices.some(({ message }) => /floating-point register/.test(message)));
  const long = 'é'.repeat(60 * 2);
  assert.deepEqual(values(texts?.[1]), {
    s: 'é'.repeat(60),
    b: '0x01ff',
    list: '[1 -2 1]',
    m: 'map[2]',
    'return.0': `${'é'.repeat(60)}\u0001�`,
    'return.1': '[1]',
  });
  assert.equal(values(texts?.[2])['s'], `${long.slice(0, 64)}…`);
  assert.deepEqual(values(texts?.[8]), {
    s: '',
    b: '',
    list: 'nil',
    m: 'nil',
    'return.0': '',
    'return.1': 'nil',
  });
  assert.deepEqual(values(structs?.[5]), {
    'o.ID': 'call 5',
    'o.Lines': '[]main.line(1)',
    'o.Total': 2.5,
    'o.Placed': '2023-11-14T22:13:20.000000005Z',
    'o.Wait': '1.5s',
    'o.Password': '[redacted]',
    'by.Name': 'by',
    'by.Count': -5,
    when: '2020-09-13T12:26:40Z',
    wait: '1m30s',
    what: 'main.line',
    why: 'reason 5',
    'o.Next.ID': 'next',
    'o.First.Name': 'first',
    'o.First.Count': 5,
    'return.0.ID': 'call 5',
    'return.0.Lines': '[]main.line(1)',
    'return.0.Total': 2.5,
    'return.0.Placed': '2023-11-14T22:13:20.000000005Z',
    'return.0.Wait': '1.5s',
    'return.0.Password': '[redacted]',
    'return.1': '1m30s',
  });
  assert.equal(values(structs?.[8])['o.ID'], 'nil');
  assert.equal(values(structs?.[8])['what'], 'nil');
  assert.equal(values(stacked?.[4])['tenth'], 4);
  assert.equal(values(stacked?.[4])['i'], 9);
  assert.equal(values(stacked?.[1])['text'], 'é'.repeat(60));
  assert.equal(values(stacked?.[1])['return.0'], 'é'.repeat(60));
});

test('arguments that a function does not use, while its stack grows', async (t) => {
  if (!requireBpf(t)) return;
  const spans = of(await run(['--arg', '*', 'main.unused'], 0), 'main.unused');
  assert.equal(spans.length, 8);
  const found = spans.map(values).sort((a, b) => Number(a['n']) - Number(b['n']));
  found.forEach((each, n) => {
    assert.deepEqual(each, { n, text: `call ${n}`, list: `[7 ${n}]` });
  });
});

test('errors and panics give the status, their text and their type', async (t) => {
  if (!requireBpf(t)) return;
  const tracer = await run(['/^main\\.(fails|explode|attempt)$/'], 0);
  const said = (name: string): string[] =>
    of(tracer, name).map(({ status, attributes }) =>
      [status.code, status.message, attributes['error.type']].filter(Boolean).join(' | '),
    );
  assert.deepEqual(said('main.fails').slice(0, 5), [
    'unset',
    'error | failed at 1 | *errors.errorString',
    'error | wrapped: inner | *fmt.wrapError',
    'error | refused | *main.refusal',
    'unset',
  ]);
  assert.deepEqual(said('main.explode').slice(0, 4), [
    'error | panic: text 0 | string',
    'error | panic: error 1 | *errors.errorString',
    'error | panic: runtime error: index out of range [2] with length 0 | runtime.boundsError',
    'error | panic: 3 | int',
  ]);
  assert.deepEqual(new Set(said('main.attempt')), new Set(['unset']));
  const counted = tracer.result.functions.find(({ name }) => name === 'main.fails');
  assert.deepEqual([counted?.calls, counted?.errors], [8, 5]);
  const quiet = await run(['--no-error-text', '/^main\\.(fails|explode)$/'], 0);
  const { status, attributes } = of(quiet, 'main.fails')[1] ?? {};
  assert.deepEqual(
    [status, attributes?.['error.type']],
    [{ code: 'error' }, '*errors.errorString'],
  );
});

test('a stack names who called', async (t) => {
  if (!requireBpf(t)) return;
  const tracer = await run(['--stack', 'main.carry'], 50);
  const stacks = of(tracer, 'main.carry').map(({ attributes }) => attributes['code.stacktrace']);
  assert.equal(stacks.length, 200);
  for (const stack of stacks) {
    const functions = String(stack)
      .split('\n')
      .filter((line) => !line.startsWith('\t'));
    const sinks = functions.filter((name) => name === 'main.sink').length;
    assert.ok(sinks >= 1 && sinks <= 13, functions.join());
    assert.match(functions[sinks] ?? '', /^main\.main\.func\d/);
    assert.match(String(stack), /^main\.sink\n\t\S+main\.go:\d+\n/);
  }
});

for (const [build, flags] of [
  ['with DWARF', []],
  ['stripped', ['-ldflags=-s -w']],
] as const) {
  test(`a method's values, ${build}`, async (t) => {
    if (!requireBpf(t)) return;
    const tracer = await run(['--arg', '1', '--arg', '2', '--return', 'main.(*ledger).Keep'], 0, [
      ...flags,
    ]);
    const spans = of(tracer, 'main.(*ledger).Keep');
    assert.equal(spans.length, 8);
    spans.forEach((span, n) => {
      const { attributes, status } = span;
      const names = flags.length > 0 ? ['1', '2'] : ['n', 'text'];
      assert.equal(attributes[`underspan.arg.${names[0]}`], n);
      assert.equal(attributes[`underspan.arg.${names[1]}`], `call ${n}`);
      assert.equal(attributes['underspan.return.0'], n % 10 === 0 ? '' : `main call ${n}`);
      assert.deepEqual(
        status,
        n % 10 === 0 ? { code: 'error', message: `call ${n}` } : { code: 'unset' },
      );
    });
  });
}

test('100,000 calls from moving stacks: no value is another call’s', async (t) => {
  if (!requireBpf(t)) return;
  const rounds = 25_000;
  const tracer = await run(['--arg', '*', '--return', 'main.carry'], rounds);
  const seen = new Set<unknown>();
  let without = 0;
  for (const { attributes, status } of tracer.spans) {
    const id = attributes['underspan.arg.id'];
    if (id === undefined) {
      without++;
      continue;
    }
    const n = Number(id);
    seen.add(n);
    assert.equal(attributes['underspan.arg.text'], `call ${n}`);
    assert.equal(attributes['underspan.arg.list'], `[${n} ${n + 1} ${n + 2}]`);
    assert.equal(attributes['underspan.return.0'], n % 10 === 0 ? 0 : n * 3);
    assert.equal(status.message, n % 10 === 0 ? `no call ${n}` : undefined);
  }
  const [counted] = tracer.result.functions;
  assert.equal(counted?.calls, 4 * rounds);
  assert.equal(counted?.errors, (4 * rounds) / 10);
  assert.equal(tracer.spans.length + (tracer.result.lost['ringFull'] ?? 0), 4 * rounds);
  assert.equal(seen.size + without, tracer.spans.length);
  assert.equal(without, tracer.result.valuesLost);
  t.diagnostic(`${seen.size} calls with all values right, ${without} without any`);
});
