import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tooDear } from '../../src/why/narrow.js';
import { ownPatterns } from '../../src/why/own-functions.js';

const MODULE = 'example.com/shop';

test('a program’s own functions are those of its main module', () => {
  const names = [
    'main.main',
    'main.Sum[go.shape.int64]',
    'main.(*Set[example.com/other/thing.Key]).Add',
    'example.com/shop/cart.(*Cart).Add',
    'example.com/shopping.Other',
    'net/http.(*ServeMux).ServeHTTP',
    'runtime.main',
    'type:.eq.main.Order',
    '_cgo_start',
  ].join('\n');
  assert.deepEqual(ownPatterns(names, MODULE, 100).sort(), ['example.com/shop/cart.*', 'main.*']);
  assert.deepEqual(ownPatterns(names, null, 100), ['main.*']);
});

test('where they are too many, what requests begin in comes first', () => {
  const many = (own: string): string[] =>
    Array.from({ length: 10 }, (_, nth) => `${MODULE}/${own}.f${nth}`);
  const names = [
    ...many('deep'),
    ...many('api'),
    `${MODULE}/api.(*Orders).ServeHTTP`,
    `${MODULE}/deep.(*Hook).ServeHTTP`,
    `${MODULE}/pb._Orders_Place_Handler`,
    `${MODULE}/pb._Orders_Cancel_Handler`,
    ...many('pb'),
  ].join('\n');
  assert.deepEqual(ownPatterns(names, MODULE, 20), [
    `${MODULE}/pb.*`,
    `${MODULE}/deep.(*Hook).ServeHTTP`,
    `${MODULE}/api.(*Orders).ServeHTTP`,
  ]);
  assert.equal(ownPatterns(names, MODULE, 2).length, 2);
});

test('the dearest are left out until the rest is within the budget', () => {
  const functions = [
    { name: 'main.serve', callsPerSecond: 100, callNs: 10_000 },
    { name: 'main.tick', callsPerSecond: 1_000_000, callNs: 10_000 },
    { name: 'main.step', callsPerSecond: 10_000, callNs: 10_000 },
  ];
  const names = (budget: number): string[] => tooDear(functions, budget).map(({ name }) => name);
  assert.deepEqual(names(0.03), ['main.tick', 'main.step']);
  assert.deepEqual(names(0.2), ['main.tick']);
  assert.deepEqual(names(20), []);
});
