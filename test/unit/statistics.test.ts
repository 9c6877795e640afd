import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BpfMap } from '../../src/native/native.js';
import { readStatistics } from '../../src/session/statistics.js';
import { LostReason, statistics } from '../../src/spans/records.generated.js';

test('the shards of a function are added up, the least and the largest found', () => {
  const shards = 2;
  const data = Buffer.alloc(3 * shards * statistics.size);
  const write = (fn: number, shard: number, field: number, value: bigint): void =>
    void data.writeBigUInt64LE(value, (fn * shards + shard) * statistics.size + field);
  const inverse = (ns: bigint): bigint => 0xffff_ffff_ffff_ffffn - ns;
  write(1, 0, statistics.calls, 3n);
  write(1, 1, statistics.calls, (1n << 32n) + 4n);
  write(1, 0, statistics.maxNs, 9n);
  write(1, 1, statistics.maxNs, 1n << 40n);
  write(1, 0, statistics.inverseMinNs, inverse((1n << 33n) + 7n));
  write(1, 1, statistics.inverseMinNs, inverse(5n));
  write(1, 1, statistics.lost + LostReason.RATE * 8, 2n);
  write(1, 0, statistics.histogram + 8, 6n);
  // In one shard no call has ended.
  write(2, 1, statistics.returns, 1n);
  write(2, 1, statistics.inverseMinNs, inverse((1n << 33n) + 7n));
  const map = { read: () => data } as unknown as BpfMap;
  const [support, fn, other] = readStatistics(map, 3, shards);
  assert.equal(support?.calls, 0);
  assert.equal(support?.minNs, 0);
  assert.equal(fn?.calls, 2 ** 32 + 7);
  assert.equal(fn?.maxNs, 2 ** 40);
  assert.equal(fn?.minNs, 5);
  assert.equal(fn?.lost[LostReason.RATE], 2);
  assert.deepEqual(fn?.histogram.slice(0, 3), [0, 6, 0]);
  assert.equal(other?.returns, 1);
  assert.equal(other?.minNs, 2 ** 33 + 7);
});
