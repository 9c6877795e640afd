import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { InstructionKind, type Parameter } from '../../src/native/native.js';
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
  const call = (target: number, spilled: number) => ({
    offset: 0,
    length: 5,
    kind: InstructionKind.CALL,
    flags: 0,
    target,
    spilled,
  });

  it('takes the words that are saved before the stack grows, and no others', () => {
    const instructions = [call(100, 0b1), call(200, 0b110)];
    const found = contextWithin({ address: 0, size: 64, instructions }, new Set([200]), null);
    assert.deepEqual(found, { place: ContextPlace.SEARCH, at: 0b110 });
  });

  it('takes the words that there are by pclntab, which knows the unused ones', () => {
    const found = contextWithin({ address: 0, size: 64, instructions: [] }, new Set(), 32);
    assert.deepEqual(found, { place: ContextPlace.SEARCH, at: 0b111 });
  });

  it('finds nothing where the stack never grows', () => {
    const found = contextWithin({ address: 0, size: 64, instructions: [] }, new Set([200]), 8);
    assert.deepEqual(found, { place: ContextPlace.NOWHERE, at: 0 });
  });
});
