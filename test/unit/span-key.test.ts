import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ProgramSpanRecord } from '../../src/spans/call.js';
import type { AttributeValue } from '../../src/spans/span.js';
import {
  type SpanAttribute,
  TOO_LONG,
  UNREADABLE_ATTRIBUTE,
} from '../../src/spans/span-attribute.js';
import { parseSpanCondition } from '../../src/spans/span-condition.js';
import { parseSpanKey } from '../../src/spans/span-key.js';

const span = (name: string, attributes: [number, AttributeValue][] = []): ProgramSpanRecord => ({
  ...{ traceId: '', spanId: '', parentId: null, parentRemote: false, startNs: 0n, endNs: 0n },
  ...{ tgid: 1, goroutineId: 1, name, status: 'error', attributes: new Map(attributes) },
});

test('name and status are there for every span, and a name that was not read is unknown', () => {
  const asked: SpanAttribute[] = [];
  assert.equal(parseSpanKey('span.name', asked).valueOf(span('GET /')), 'GET /');
  assert.equal(parseSpanKey('span.name', asked).valueOf(span('')), null);
  assert.equal(parseSpanKey(' span.status ', asked).valueOf(span('')), 'error');
  assert.deepEqual(asked, []);
});

test('an attribute is there, or not, or could not be read', () => {
  const asked: SpanAttribute[] = [];
  const key = parseSpanKey('span.attr.tenant.id', asked);
  const number = asked[0]?.number ?? 0;
  assert.equal(asked[0]?.name, 'tenant.id');
  for (const value of ['acme', '', 7, 0, true, false]) {
    assert.equal(key.valueOf(span('', [[number, value]])), value);
  }
  assert.equal(key.valueOf(span('', [[number + 1, 'acme']])), undefined);
  assert.equal(key.valueOf({ ...span(''), attributes: null }), undefined);
  assert.equal(key.valueOf(span('', [[number, TOO_LONG]])), null);
  const unreadable: [number, AttributeValue] = [UNREADABLE_ATTRIBUTE, true];
  assert.equal(key.valueOf(span('', [unreadable])), null);
  assert.equal(key.valueOf(span('', [unreadable, [number, 'acme']])), 'acme');
});

test('what a condition asks for too is read once, and counts among the four', () => {
  const asked: SpanAttribute[] = [];
  const terms = ['a', 'b', 'c'].map((name) => `span.attr.${name} == 1`);
  const condition = parseSpanCondition(null, terms, asked);
  parseSpanKey('span.attr.b', asked);
  assert.deepEqual(
    asked.map(({ name }) => name),
    ['a', 'b', 'c'],
  );
  assert.equal(condition?.attributes, asked);
  parseSpanKey('span.attr.d', asked);
  assert.throws(() => parseSpanKey('span.attr.e', asked), { code: 'CONDITION_INVALID' });
});

test('what is no key is refused, with what to write', () => {
  for (const text of [
    'tenant.id',
    'span.attr.',
    'span.kind',
    'span.attr.a == 1',
    '',
    'span.name x',
  ]) {
    assert.throws(() => parseSpanKey(text, []), { code: 'KEY_INVALID', hint: /span\.name/ }, text);
  }
  const long = `span.attr.${'x'.repeat(64)}`;
  assert.throws(() => parseSpanKey(long, []), { code: 'CONDITION_INVALID' });
});
