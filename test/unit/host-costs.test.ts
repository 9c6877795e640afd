import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { BootCache, type Boot } from '../../src/native/boot-cache.js';
import { loadNative } from '../../src/native/load.js';
import type { Calibration, Features } from '../../src/native/native.js';
import {
  ASSUMED_COSTS,
  type HostCosts,
  hostCosts,
  measureCosts,
} from '../../src/plan/host-costs.js';
import { requireBpf } from '../tools/require.js';

const directory = mkdtempSync(join(tmpdir(), 'underspan-costs-'));
after(() => rmSync(directory, { recursive: true }));

const FEATURES = { uprobeMulti: true, uprobeSession: true } as Features;
const FOUND: Calibration = {
  pushNs: 700,
  jumpNs: 900,
  moveNs: 9_000,
  returnNs: 11_000,
  sessionNs: 1_300,
  carriedOutNs: null,
  besideNs: 2_000,
};
const BOOT: Boot = { id: 'b', kernel: '6.18', cpu: 'EPYC' };

class Host {
  measured = 0;
  found: unknown = FOUND;
  boot = BOOT;
  readonly directory = mkdtempSync(join(directory, 'host-'));
  readonly file = join(this.directory, 'costs.json');

  ask(features = FEATURES, how = hostCosts): Promise<HostCosts> {
    const calibrate = (): Promise<Calibration> => {
      this.measured++;
      if (this.found instanceof Error) return Promise.reject(this.found);
      return Promise.resolve(this.found as Calibration);
    };
    return how({ calibrate }, features, new BootCache(this.directory, this.boot));
  }

  /** How often it was measured until both had their answer. */
  async asked(times: number): Promise<number> {
    for (let i = 0; i < times; i++) await this.ask();
    return this.measured;
  }
}

test('what is measured is kept for the boot', async () => {
  const host = new Host();
  const first = await host.ask();
  assert.deepEqual(
    [first.emulatedNs, first.singleSteppedNs, first.trampolineNs],
    [800, 10_000, 1_300],
  );
  assert.equal(first.source, 'measured');
  assert.deepEqual(await host.ask(), { ...first, source: 'cached' });
  assert.equal(host.measured, 1);
  assert.equal(statSync(host.file).mode & 0o777, 0o600);
  assert.deepEqual(readdirSync(host.directory), ['costs.json']);
});

test('it can be measured anew', async () => {
  const host = new Host();
  await host.ask();
  host.found = { ...FOUND, moveNs: 19_000 };
  assert.equal((await host.ask(FEATURES, measureCosts)).source, 'measured');
  assert.equal((await host.ask()).singleSteppedNs, 15_000);
});

test('another boot, kernel, processor or feature is measured anew', async () => {
  for (const other of [{ id: 'c' }, { kernel: '6.19' }, { cpu: 'Xeon' }]) {
    const host = new Host();
    await host.ask();
    host.boot = { ...BOOT, ...other };
    assert.equal((await host.ask()).source, 'measured', JSON.stringify(other));
  }
  const host = new Host();
  await host.ask();
  assert.equal((await host.ask({ ...FEATURES, writesRegisters: true })).source, 'measured');
});

test('what is broken, or no calibration, is measured anew', async () => {
  const host = new Host();
  await host.ask();
  const kept = readFileSync(host.file, 'utf8');
  for (const text of [
    '',
    kept.slice(0, -10),
    '[]',
    kept.replace('700', '-1'),
    kept.replace('700', '1e99'),
    kept.replace('700', 'null'),
    kept.replace('"moveNs"', '"x"'),
    `${kept}${' '.repeat(5 << 20)}`,
  ]) {
    writeFileSync(host.file, text);
    const before = host.measured;
    assert.equal((await host.ask()).source, 'measured', text.slice(0, 99));
    assert.equal(host.measured, before + 1);
    assert.equal((await host.ask()).source, 'cached');
  }
});

test('a file that others may have written is not believed', async () => {
  const written = new Host();
  await written.ask();
  chmodSync(written.file, 0o620);
  assert.equal((await written.ask()).source, 'measured');
  assert.equal(statSync(written.file).mode & 0o777, 0o600);

  const linked = new Host();
  await linked.ask();
  const elsewhere = join(linked.directory, 'elsewhere');
  writeFileSync(elsewhere, readFileSync(linked.file));
  rmSync(linked.file);
  symlinkSync(elsewhere, linked.file);
  assert.equal((await linked.ask()).source, 'measured');

  if (process.geteuid?.() !== 0) return;
  const foreign = new Host();
  await foreign.ask();
  chownSync(foreign.file, 12_345, 0);
  assert.equal((await foreign.ask()).source, 'measured');
});

test('where nothing can be kept it is measured each time', async () => {
  const host = new Host();
  rmSync(host.directory, { recursive: true });
  writeFileSync(host.directory, '');
  assert.equal(await host.asked(2), 2);
});

test('where nothing can be measured it is assumed, and not kept', async () => {
  for (const found of [new Error('refused'), { ...FOUND, pushNs: 0 }]) {
    const host = new Host();
    host.found = found;
    assert.deepEqual(await host.ask(), ASSUMED_COSTS);
    assert.deepEqual(readdirSync(host.directory), []);
  }
});

test('hits on several CPUs wait for each other on kernels without sessions, if that is seen', async () => {
  const scales = async (features: Features, besideNs: number): Promise<boolean> => {
    const host = new Host();
    host.found = { ...FOUND, besideNs };
    return (await host.ask(features)).scalesWithCpus;
  };
  assert.equal(await scales(FEATURES, 2_000), true);
  assert.equal(await scales({ ...FEATURES, uprobeSession: false }, 800), true);
  assert.equal(await scales({ ...FEATURES, uprobeSession: false }, 1_400), false);
});

describe('this host', () => {
  test('a single step costs more than an emulation, and sessions less than that', async (t) => {
    if (!requireBpf(t)) return;
    const native = loadNative();
    const features = await native.features();
    const found = await native.calibrate(features);
    assert.ok(found.pushNs > 50 && found.pushNs < found.moveNs, JSON.stringify(found));
    assert.ok(found.jumpNs < found.returnNs);
    assert.equal(found.sessionNs !== null, features.uprobeSession);
    assert.ok((found.sessionNs ?? Infinity) > found.pushNs);
    assert.equal(found.carriedOutNs !== null, features.writesRegisters);
    if (found.carriedOutNs !== null) assert.ok(found.carriedOutNs < found.returnNs);
    assert.deepEqual(await native.calibrate(features), found);
  });
});
