import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import type { BpfMap, Programs } from '../../src/native/native.js';
import { fails, key32, load, native, needsBpf, number64, prepare } from './fixtures/counting.js';

before(prepare);

describe('maps', needsBpf, () => {
  let programs: Programs;
  let table: BpfMap;
  before(async () => {
    programs = await load();
    table = programs.map('table');
  });
  after(() => programs.close());

  test('facts', () => {
    assert.equal(table.name, 'table');
    assert.deepEqual([table.keySize, table.valueSize, table.maxEntries], [8, 8, 20000]);
  });

  test('look up, update, delete', () => {
    assert.equal(table.lookup(number64(5)), null);
    table.update(number64(5), number64(50));
    assert.deepEqual(table.lookup(number64(5)), number64(50));
    table.update(number64(5), number64(51));
    assert.deepEqual(table.lookup(number64(5)), number64(51));
    assert.equal(table.delete(number64(5)), true);
    assert.equal(table.delete(number64(5)), false);
  });

  test('many at once, and all entries', async () => {
    assert.deepEqual(await table.entries(), { keys: Buffer.alloc(0), values: Buffer.alloc(0) });
    const wanted = Array.from({ length: 15_000 }, (_, i) => i * 7);
    table.updateMany(
      Buffer.concat(wanted.map(number64)),
      Buffer.concat(wanted.map((n) => number64(n + 1))),
    );
    const { keys, values } = await table.entries();
    const found = wanted.map((_, i) => Number(keys.readBigUInt64LE(i * 8)));
    assert.deepEqual(
      found.map((_, i) => Number(values.readBigUInt64LE(i * 8))),
      found.map((n) => n + 1),
    );
    assert.deepEqual(
      found.sort((a, b) => a - b),
      wanted,
    );
    assert.equal(keys.length, wanted.length * 8);
  });

  test('a range of an array, mappable or not', () => {
    for (const [name, elements, size] of [
      ['counts', 8192, 8],
      ['plain', 3000, 4],
    ] as const) {
      const map = programs.map(name);
      const keys = Buffer.alloc(elements * 4);
      const values = Buffer.alloc(elements * size);
      for (let i = 0; i < elements; i++) {
        keys.writeUInt32LE(i, i * 4);
        values.writeUInt32LE(i ^ 0x5a5a, i * size);
      }
      map.updateMany(keys, values);
      assert.deepEqual(map.read(0, elements), values);
      assert.deepEqual(map.read(17, 2100), values.subarray(17 * size, 2117 * size));
      assert.deepEqual(map.read(elements - 1, 1), values.subarray(-size));
      assert.equal(map.read(3, 0).length, 0);
      assert.throws(() => map.read(elements - 1, 2), fails('BPF_FAILED'));
    }
    assert.throws(() => table.read(0, 1), fails('BPF_UNSUPPORTED'));
  });

  test('an array’s entries', async () => {
    const { keys, values } = await programs.map('plain').entries();
    assert.equal(keys.length, 3000 * 4);
    assert.equal(values.length, 3000 * 4);
    assert.equal(keys.readUInt32LE(2999 * 4), 2999);
  });

  test('a map of another object is used in place of its own', async () => {
    table.update(number64(1), number64(11));
    const second = await load({
      maps: { table: { reuse: table }, counts: { maxEntries: 16 } },
    });
    assert.equal(second.map('counts').maxEntries, 16);
    assert.deepEqual(second.map('table').lookup(number64(1)), number64(11));
    second.map('table').update(number64(2), number64(22));
    assert.deepEqual(table.lookup(number64(2)), number64(22));
    second.close();
    assert.deepEqual(table.lookup(number64(2)), number64(22));
    await assert.rejects(load({ maps: { plain: { reuse: table } } }), fails('BPF_FAILED'));
  });

  test('wrong sizes and kinds are refused before the kernel sees them', () => {
    assert.throws(() => table.lookup(Buffer.alloc(4)), TypeError);
    assert.throws(() => table.update(number64(1), Buffer.alloc(9)), TypeError);
    assert.throws(() => table.updateMany(Buffer.alloc(16), Buffer.alloc(8)), TypeError);
    assert.throws(() => programs.map('per_cpu').lookup(key32(0)), fails('BPF_UNSUPPORTED'));
    assert.throws(
      () => native.read(table, { intervalMs: 5, batchBytes: 1, maxPending: 1 }, () => {}),
      fails('BPF_UNSUPPORTED'),
    );
    const stranger = {} as BpfMap;
    assert.throws(
      () => native.read(stranger, { intervalMs: 5, batchBytes: 1, maxPending: 1 }, () => {}),
      TypeError,
    );
    assert.throws(() => table.lookup.call({} as BpfMap, number64(1)), TypeError);
    const Class = table.constructor as new () => BpfMap;
    assert.throws(() => new Class(), TypeError);
  });
});
