import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UnderspanError } from '../../src/errors.js';
import type { ProgramSpanRecord } from '../../src/spans/call.js';
import type { AttributeValue } from '../../src/spans/span.js';
import { parseSpanCondition } from '../../src/spans/span-condition.js';

interface Facts {
  name?: string;
  status?: ProgramSpanRecord['status'];
  attributes?: Record<string, AttributeValue>;
}

function holds(name: string | null, where: string[], facts: Facts): boolean | null {
  const condition = parseSpanCondition(name, where);
  assert.ok(condition);
  const numberOf = (key: string): number =>
    condition.attributes.find((each) => each.name === key)?.number ?? 0;
  return condition.holds({
    ...{ traceId: '', spanId: '', parentId: null, parentRemote: false, startNs: 0n, endNs: 0n },
    ...{ tgid: 1, goroutineId: 1, name: facts.name ?? '', status: facts.status ?? 'unset' },
    attributes:
      facts.attributes === undefined
        ? null
        : new Map(Object.entries(facts.attributes).map(([key, value]) => [numberOf(key), value])),
  });
}

test('a name, with wildcards, or an expression', () => {
  const cases: [string, string[], string[]][] = [
    ['POST /checkout', ['POST /checkout'], ['POST /checkout/', 'xPOST /checkout', '']],
    ['POST *', ['POST ', 'POST /a'], ['GET /a', 'POST']],
    ['*/checkout', ['POST /checkout', '/checkout'], ['/checkout/x']],
    ['a*b*c', ['abc', 'aabbcc', 'a.b.c', 'abcbc'], ['ac', 'acb', 'ab']],
    ['ab*ba', ['abba', 'ab-ba'], ['aba', 'ab']],
    ['*', ['', 'anything'], []],
    ['GET /users/{id}', ['GET /users/{id}'], ['GET /users/7']],
    ['/^(GET|PUT) /', ['GET /a', 'PUT x'], ['POST GET ', 'GET']],
    ['/a:/', ['a:'], ['a']],
  ];
  for (const [pattern, good, bad] of cases) {
    for (const name of good) assert.ok(holds(pattern, [], { name }), `${pattern}: ${name}`);
    for (const name of bad) assert.ok(!holds(pattern, [], { name }), `${pattern}: ${name}`);
  }
});

test('an expression that takes for ever is tried once, and decides nothing', () => {
  const condition = parseSpanCondition('/^(a+)+$/', []);
  const named = (name: string): ProgramSpanRecord => ({ name }) as ProgramSpanRecord;
  assert.equal(condition?.holds(named('aaa')), true);
  for (let round = 0; round < 100; round++) {
    assert.equal(condition.holds(named(`${'a'.repeat(60)}!${round}`)), null);
  }
  assert.equal(condition.holds(named('aaa')), true, 'what is known stays known');
});

test('terms: name, status and attributes of the same span', () => {
  const tenant = (value: AttributeValue): Facts => ({ attributes: { 'tenant.id': value } });
  assert.ok(holds(null, ['span.attr.tenant.id == "acme"'], tenant('acme')));
  assert.ok(holds(null, ["span.attr.tenant.id=='acme'"], tenant('acme')));
  assert.ok(!holds(null, ['span.attr.tenant.id == "acme"'], tenant('other')));
  assert.ok(!holds(null, ['span.attr.tenant.id == "acme"'], {}));
  assert.ok(holds(null, ['span.attr.tenant.id != "acme"'], tenant('other')));
  assert.ok(!holds(null, ['span.attr.tenant.id != "acme"'], {}), 'it has none');
  assert.ok(!holds(null, ['span.attr.tenant.id != "7"'], tenant(7)), 'of another kind');
  assert.ok(holds(null, ['span.attr.tenant.id >= 500'], tenant(500)));
  assert.ok(!holds(null, ['span.attr.tenant.id > 500'], tenant(500)));
  assert.ok(holds(null, ['span.attr.tenant.id <= -1.5'], tenant(-2)));
  assert.ok(!holds(null, ['span.attr.tenant.id < -2'], tenant(-2)));
  assert.ok(holds(null, ['span.attr.tenant.id == true'], tenant(true)));
  assert.ok(holds(null, ['span.status == error'], { status: 'error' }));
  assert.ok(holds(null, ['span.status != error'], { status: 'ok' }));
  assert.ok(holds(null, ['span.name != "GET /"'], { name: 'GET /a' }));
  const both = ['span.status == "error"', 'span.attr.tenant.id == "acme"'];
  assert.ok(holds('GET *', both, { name: 'GET /', status: 'error', ...tenant('acme') }));
  assert.ok(!holds('GET *', both, { name: 'GET /', ...tenant('acme') }));
  assert.ok(!holds('PUT *', both, { name: 'GET /', status: 'error', ...tenant('acme') }));
});

test('an attribute that is asked for twice is read once; rules do not share numbers', () => {
  const where = ['span.attr.a > 1', 'span.attr.a < 3', 'span.attr.b == 1'];
  const conditions = [parseSpanCondition(null, where), parseSpanCondition(null, where)];
  const all = conditions.flatMap((condition) => condition?.attributes ?? []);
  assert.deepEqual(
    all.map(({ name }) => name),
    ['a', 'b', 'a', 'b'],
  );
  assert.equal(new Set(all.map(({ number }) => number)).size, 4);
  assert.equal(parseSpanCondition(null, []), null);
});

test('what can never hold is refused', () => {
  const refused = [
    'tenant == 1',
    'span.attr.a',
    'span.attr.a = 1',
    'span.attr.a == acme',
    'span.attr.a > "acme"',
    'span.status == broken',
    'span.name == 7',
    `span.name == "${'x'.repeat(64)}"`,
    `span.attr.a == "${'x'.repeat(64)}"`,
    `span.attr.${'x'.repeat(64)} == 1`,
  ];
  for (const text of refused) {
    assert.throws(
      () => parseSpanCondition(null, [text]),
      (error: unknown) =>
        error instanceof UnderspanError && error.kind === 'usage' && error.hint !== undefined,
      text,
    );
  }
  assert.throws(() => parseSpanCondition('/(/', []), { code: 'CONDITION_INVALID' });
  const five = ['a', 'b', 'c', 'd', 'e'].map((key) => `span.attr.${key} == 1`);
  assert.throws(() => parseSpanCondition(null, five), { code: 'CONDITION_INVALID' });
});
