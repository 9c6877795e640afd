/** The kernel's two tables of open calls, read as one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BpfMap } from '../../src/native/native.js';
import { OpenCalls } from '../../src/session/open-calls.js';
import {
  MAX_OWN_STACKS,
  openCall,
  ownStack,
  stack as stackLayout,
  stackKey,
} from '../../src/spans/records.generated.js';

/** Stacks of threads with their places, as the formula of bpf/own_stacks.bpf.h gives them in C. */
const OWN = [
  { stack: 0xc0007ffc12345670n, tgid: 4242, place: 245 },
  { stack: 0xc0007f1200a016c0n, tgid: 4242, place: 5 },
  { stack: 0xc0007f1200a016c0n, tgid: 3_999_999, place: 274 },
];

const keyOf = (stack: bigint, tgid: number): Buffer => {
  const key = Buffer.alloc(stackKey.size);
  key.writeBigUInt64LE(stack, stackKey.stack);
  key.writeUInt32LE(tgid, stackKey.tgid);
  return key;
};

/** With one open call, of this function. */
function element(functionIndex: number): Buffer {
  const value = Buffer.alloc(stackLayout.size);
  value.writeUInt32LE(1, stackLayout.depth);
  value.writeUInt32LE(functionIndex, stackLayout.calls + openCall.function);
  return value;
}

function tables() {
  const hash = new Map<string, Buffer>();
  const array = Buffer.alloc(MAX_OWN_STACKS * ownStack.size);
  const at = (place: Buffer): Buffer => {
    const from = place.readUInt32LE() * ownStack.size;
    return array.subarray(from, from + ownStack.size);
  };
  const stacks = {
    lookup: (key: Buffer) => hash.get(key.toString('hex')) ?? null,
    delete: (key: Buffer) => hash.delete(key.toString('hex')),
    entries: () =>
      Promise.resolve({
        keys: Buffer.concat([...hash.keys()].map((key) => Buffer.from(key, 'hex'))),
        values: Buffer.concat([...hash.values()]),
      }),
  };
  const own = {
    maxEntries: MAX_OWN_STACKS,
    lookup: (place: Buffer) => Buffer.from(at(place)),
    update: (place: Buffer, value: Buffer) => value.copy(at(place)),
    read: () => Buffer.from(array),
  };
  return {
    openCalls: new OpenCalls(stacks as unknown as BpfMap, own as unknown as BpfMap),
    addOther: (stack: bigint, tgid: number, functionIndex: number) =>
      hash.set(keyOf(stack, tgid).toString('hex'), element(functionIndex)),
    addOwn: (place: number, stack: bigint, tgid: number, functionIndex: number) => {
      const value = array.subarray(place * ownStack.size, (place + 1) * ownStack.size);
      value.writeBigUInt64LE(stack, ownStack.key);
      value.writeUInt32LE(tgid, ownStack.tgid);
      element(functionIndex).copy(value, ownStack.stack);
    },
  };
}

const functionsOf = (open: readonly { calls: Buffer[] }[]): number[] =>
  open.flatMap(({ calls }) => calls.map((call) => call.readUInt32LE(openCall.function))).sort();

test('stacks of threads at their places, all others, and those whose place another has', async () => {
  const { openCalls, addOther, addOwn } = tables();
  OWN.forEach(({ stack, tgid, place }, index) => addOwn(place, stack, tgid, index + 1));
  addOther(0xc000123000n, 4242, 8);
  // As it is where another thread had the place when this one came.
  addOther(0xc0007f12002006c0n, 4242, 9);

  OWN.forEach(({ stack, tgid }, index) => {
    const open = openCalls.on(stack, tgid);
    assert.deepEqual(open && functionsOf([open]), [index + 1]);
  });
  assert.deepEqual(functionsOf([openCalls.on(0xc000123000n, 4242) ?? assert.fail()]), [8]);
  assert.deepEqual(functionsOf([openCalls.on(0xc0007f12002006c0n, 4242) ?? assert.fail()]), [9]);
  assert.equal(openCalls.on(0xc0007f1200a016c0n, 4243), null);

  assert.deepEqual(functionsOf(await openCalls.all()), [1, 2, 3, 8, 9]);
  const ofOne = await openCalls.all(4242);
  assert.deepEqual(functionsOf(ofOne), [1, 2, 8, 9]);
  assert.ok(ofOne.every(({ tgid }) => tgid === 4242));

  openCalls.forget(ofOne);
  assert.deepEqual(functionsOf(await openCalls.all()), [3]);
});

test('a place that has been given to another thread since is not taken from it', async () => {
  const { openCalls, addOwn } = tables();
  const [one] = OWN;
  assert.ok(one);
  addOwn(one.place, one.stack, one.tgid, 1);
  const before = await openCalls.all();
  addOwn(one.place, 0xc0007fffffff0000n, 77, 2);
  openCalls.forget(before);
  assert.deepEqual(functionsOf(await openCalls.all()), [2]);
});
