import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Features } from '../../src/native/native.js';
import type { ModulePlan } from '../../src/plan/plan.js';
import { encodeSettings, encodeSites, type KernelOptions } from '../../src/session/encode.js';
import { settings, site, SiteFlag, SiteKind } from '../../src/spans/records.generated.js';

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
        entryOnly: null,
        trampoline: false,
        single: false,
      },
    ],
    support: [{ address: 0x1020, kind: SiteKind.SPAN_STARTED, condition: 0, at: 0 }],
  } as unknown as ModulePlan;
  const { sites, returns } = encodeSites(plan, 1);
  const flags = returns.map(({ index }) => sites.readUInt8(index * site.size + site.flags));
  assert.deepEqual(flags, [SiteFlag.PLAIN_RETURN, 0, 0]);
});

test('returns are carried out where the kernel lets them and they are wanted', () => {
  const flags = (writesRegisters: boolean, emulateReturns: boolean): number[] => {
    const plan = {
      layout: null,
      module: { facts: {} },
      functions: [],
    } as unknown as ModulePlan;
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
