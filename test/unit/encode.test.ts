import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Features } from '../../src/native/native.js';
import type { ModulePlan } from '../../src/plan/plan.js';
import { encodeSettings, encodeSites, type KernelOptions } from '../../src/session/encode.js';
import { settings, site, SiteKind } from '../../src/spans/records.generated.js';

const NOWHERE = { place: 0, at: 0 };

test('a return that a probe of the runtime shares is not carried out', () => {
  const ret = (address: number, plainReturn: boolean) => ({
    ...{ address, condition: 0, emulated: false },
    plainReturn,
  });
  const plan = {
    functions: [
      {
        entry: { address: 0x1000, condition: 0, emulated: true },
        returns: [ret(0x1010, true), ret(0x1020, true), ret(0x1030, false)],
        context: NOWHERE,
      },
    ],
    support: [{ address: 0x1020, kind: SiteKind.SPAN_STARTED, condition: 0, at: 0 }],
  } as unknown as ModulePlan;
  const { sites, returns } = encodeSites(plan, 1);
  const plain = returns.map(({ index }) => sites.readUInt8(index * site.size + site.plainReturn));
  assert.deepEqual(plain, [1, 0, 0]);
});

test('returns are carried out where the kernel lets them and they are wanted', () => {
  const flags = (writesRegisters: boolean, emulateReturns: boolean): number[] => {
    const plan = {
      layout: { spanTypes: [] },
      module: { facts: {} },
      functions: [],
    } as unknown as ModulePlan;
    const plain = { valueItab: 0, keyType: 0, contextInterface: 0, goidOffset: 0 };
    const offsets = { requestContextOffset: 0, labelsOffset: 0, currentOffset: 0 };
    Object.assign(plan.layout, plain, offsets);
    const options = { sampleThreshold: 0n, minDurationNs: 0, shards: 1, attachment: 1 };
    const buffer = encodeSettings(
      plan,
      1,
      { ...options, contextHops: 1, emulateReturns } as KernelOptions,
      { writesRegisters } as Features,
      0n,
    );
    return [buffer.readUInt8(settings.writesRegisters), buffer.readUInt8(settings.emulateReturns)];
  };
  assert.deepEqual(flags(true, true), [1, 1]);
  // Those of others must still be understood.
  assert.deepEqual(flags(true, false), [1, 0]);
  assert.deepEqual(flags(false, true), [0, 0]);
});
