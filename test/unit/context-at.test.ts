import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Parameter } from '../../src/native/native.js';
import { contextOf, contextWithin } from '../../src/plan/go-plan.js';
import { ContextPlace } from '../../src/spans/records.generated.js';

const parameter = (type: string, over: Partial<Parameter> = {}): Parameter => ({
  name: 'p',
  type,
  result: false,
  registers: [],
  stackOffset: null,
  ...over,
});

describe('contextOf', () => {
  it('finds a context.Context in any position', () => {
    const found = contextOf([
      parameter('*main.Shop', { registers: [0] }),
      parameter('context.Context', { registers: [1, 2] }),
    ]);
    assert.deepEqual(found, { place: ContextPlace.REGISTERS, at: 1 });
  });

  it('finds one on the stack', () => {
    const found = contextOf([parameter('context.Context', { stackOffset: 16 })]);
    assert.deepEqual(found, { place: ContextPlace.STACK, at: 16 });
  });

  it('takes a request where there is no context', () => {
    const found = contextOf([
      parameter('net/http.ResponseWriter', { registers: [0, 1] }),
      parameter('*net/http.Request', { registers: [2] }),
    ]);
    assert.deepEqual(found, { place: ContextPlace.REQUEST_REGISTER, at: 2 });
  });

  it('prefers the context to a request before it', () => {
    const found = contextOf([
      parameter('*net/http.Request', { registers: [0] }),
      parameter('context.Context', { registers: [1, 2] }),
    ]);
    assert.deepEqual(found, { place: ContextPlace.REGISTERS, at: 1 });
  });

  it('does not take a result, nor a type that is only named alike', () => {
    const found = contextOf([
      parameter('*context.Context', { registers: [0] }),
      parameter('context.Context', { registers: [0, 1], result: true }),
    ]);
    assert.deepEqual(found, { place: ContextPlace.NOWHERE, at: 0 });
  });
});

describe('contextWithin', () => {
  it('takes the words that the function saves, side by side', () => {
    assert.deepEqual(contextWithin(0b110, null), { place: ContextPlace.SEARCH, at: 0b110 });
  });

  it('takes the words that there are by pclntab, which knows the unused ones', () => {
    assert.deepEqual(contextWithin(0, 32), { place: ContextPlace.SEARCH, at: 0b111 });
  });

  it('finds nothing in one word', () => {
    assert.deepEqual(contextWithin(0, 8), { place: ContextPlace.NOWHERE, at: 0 });
  });
});
