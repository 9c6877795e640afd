import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import type { BpfMap, Programs, Reader } from '../../src/native/native.js';
import { CountProgram, root } from './fixtures/count.js';
import {
  RECORD_SIZE,
  fails,
  key32,
  load,
  native,
  needsBpf,
  number64,
  prepare,
  settings,
  sites,
  total,
  until,
} from './fixtures/counting.js';

before(prepare);

describe('the reader', needsBpf, () => {
  let program: CountProgram;
  before(async () => {
    program = await CountProgram.start();
  });
  after(() => program.stop());

  const options = { intervalMs: 5, batchBytes: 65536, maxPending: 4 };

  test('drain is exact under load, with the batches in order', async () => {
    const programs = await load({ settings: settings(1n, true) });
    const link = await programs.attachUprobes('hit', sites(['alpha'], program.pid));
    let received = 0;
    let latest = 0n;
    const reader = native.read(programs.map('ring'), options, (batch) => {
      received += batch.length / RECORD_SIZE;
      latest = batch.readBigUInt64LE(batch.length - 8);
    });
    const calls = program.call('alpha', 2, 100_000);
    for (let i = 0; i < 20; i++) {
      const sent = total(programs, 0) - total(programs, 1) - 2; // two may be between count and submit
      const asked = process.hrtime.bigint();
      await reader.drain();
      assert.ok(received >= sent, `${received} of ${sent} records`);
      if (sent > 0) assert.ok(latest > asked - 1_000_000_000n);
      await sleep(7);
    }
    const own = await calls;
    await reader.drain();
    assert.equal(received + total(programs, 1), own);
    assert.equal(total(programs, 0), own);
    await link.detach();
    await reader.stop();
    programs.close();
  });

  test('discarded records are skipped', async () => {
    const programs = await load();
    const link = await programs.attachUprobes('hesitate', sites(['alpha'], program.pid, [5]));
    let received = 0;
    const reader = native.read(programs.map('ring'), options, (batch) => {
      for (let at = 0; at < batch.length; at += RECORD_SIZE, received++)
        assert.equal(batch.readBigUInt64LE(at + 8), 5n);
    });
    const own = await program.call('alpha', 1, 10_000);
    await reader.drain();
    assert.equal(received, own / 2);
    await link.detach();
    await reader.stop();
    programs.close();
  });

  test('a small ring loses, and the losses are counted', async () => {
    const programs = await load({
      settings: settings(1n, true),
      maps: { ring: { maxEntries: 4096 } },
    });
    assert.equal(programs.map('ring').maxEntries, 4096);
    const link = await programs.attachUprobes('hit', sites(['alpha'], program.pid));
    let received = 0;
    const reader = native.read(programs.map('ring'), { ...options, intervalMs: 50 }, (batch) => {
      received += batch.length / RECORD_SIZE;
    });
    const own = await program.call('alpha', 2, 20_000);
    await reader.drain();
    assert.ok(total(programs, 1) > 0);
    assert.equal(received + total(programs, 1), own);
    await link.detach();
    await reader.stop();
    programs.close();
  });

  test('slow JavaScript: what waits is bounded, the ring fills, all is accounted for', async () => {
    const programs = await load({
      settings: settings(1n, true),
      maps: { ring: { maxEntries: 65536 } },
    });
    const link = await programs.attachUprobes('hit', sites(['alpha'], program.pid));
    let received = 0;
    let batches = 0;
    const reader = native.read(
      programs.map('ring'),
      { intervalMs: 1, batchBytes: 4800, maxPending: 2 },
      (batch) => {
        received += batch.length / RECORD_SIZE;
        batches++;
      },
    );
    const calls = program.call('alpha', 1, 30_000);
    await sleep(20);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
    const own = await calls;
    await reader.drain();
    const lost = total(programs, 1);
    assert.ok(lost > 0, 'nothing was lost, so nothing was bounded');
    assert.equal(received + lost, own);
    assert.ok(batches >= received / 200);
    await link.detach();
    await reader.stop();
    programs.close();
  });

  test('stop: nothing comes after it, what waited is CLOSED', async () => {
    const programs = await load({ settings: settings(1n, true) });
    const link = await programs.attachUprobes('hit', sites(['alpha'], program.pid));
    let received = 0;
    const reader = native.read(programs.map('ring'), options, (batch) => {
      received += batch.length / RECORD_SIZE;
    });
    const calls = program.call('alpha', 1, 20_000);
    await reader.stop();
    const at = received;
    await assert.rejects(reader.drain(), fails('CLOSED'));
    await calls;
    await sleep(30);
    assert.equal(received, at);
    await link.detach();
    // A closed ring's reader goes on with what it has mapped.
    const second = native.read(programs.map('ring'), options, (batch) => {
      received += batch.length / RECORD_SIZE;
    });
    programs.close();
    await second.drain();
    assert.equal(received, 20_000);
    await second.stop();
  });

  describe('a flag', () => {
    let programs: Programs;
    let reader: Reader;
    let told: number;
    const set = (value: number): void => flag().update(key32(0), number64(value));
    const flag = (): BpfMap => programs.map('counts');
    const read = (): Reader =>
      native.read(
        programs.map('ring'),
        { ...options, flag: { map: flag(), onSet: () => told++ } },
        () => {},
      );
    /** That many looks of the reader, at least: each goes with one of a ring in which nothing is. */
    const looks = async (): Promise<void> => {
      for (let look = 0; look < 3; look++) await reader.drain();
    };
    beforeEach(async () => {
      programs = await load();
      told = 0;
      reader = read();
    });
    afterEach(async () => {
      await reader.stop();
      programs.close();
    });

    test('is told of once, and again where it is asked again', async () => {
      set(1);
      await looks();
      assert.equal(told, 0, 'nobody has asked');
      reader.watchFlag();
      await until(() => told > 0, 'nothing was told');
      await looks();
      assert.equal(told, 1);
      reader.watchFlag();
      await until(() => told > 1, 'nothing was told');
      await looks();
      assert.equal(told, 2);
    });

    test('is not told of while it is 0, and is as soon as it is set', async () => {
      reader.watchFlag();
      reader.watchFlag();
      await looks();
      assert.equal(told, 0);
      set(7);
      await until(() => told > 0, 'nothing was told');
      await looks();
      assert.equal(told, 1);
      set(0);
      reader.watchFlag();
      await looks();
      assert.equal(told, 1);
    });

    test('is told of in order with batches', async () => {
      await reader.stop();
      programs.close();
      programs = await load({ settings: settings(1n, true) });
      const link = await programs.attachUprobes('hit', sites(['alpha'], program.pid));
      const order: string[] = [];
      // The program has set the flag before it sends the record.
      const own = await program.call('alpha', 1, 10);
      reader = native.read(
        programs.map('ring'),
        { ...options, flag: { map: flag(), onSet: () => order.push('flag') } },
        (batch) => order.push(`${batch.length / RECORD_SIZE} records`),
      );
      reader.watchFlag();
      await reader.drain();
      await until(() => order.length > 1, 'nothing was told');
      assert.deepEqual(order, [`${own} records`, 'flag']);
      await link.detach();
    });

    test('stays readable when its map is closed; after the end nothing comes', async () => {
      const gone = programs;
      set(1);
      gone.close();
      reader.watchFlag();
      await until(() => told > 0, 'nothing was told');
      reader.watchFlag();
      await reader.stop();
      const at = told;
      reader.watchFlag();
      await sleep(100);
      assert.equal(told, at);
      programs = await load();
      reader = read();
    });

    test('must be one', async () => {
      const onSet = () => {};
      const start = (map: string) => () =>
        native.read(
          programs.map('ring'),
          { ...options, flag: { map: programs.map(map), onSet } },
          () => {},
        );
      assert.throws(start('table'), fails('BPF_UNSUPPORTED'));
      assert.throws(start('plain'), fails('BPF_FAILED'));
      assert.throws(
        () => native.read(programs.map('ring'), { ...options, flag: {} as never }, () => {}),
        TypeError,
      );
      const without = native.read(programs.map('ring'), options, () => {});
      assert.throws(() => without.watchFlag(), TypeError);
      await without.stop();
    });
  });

  test('a callback that throws is an uncaught exception, and reading goes on', () => {
    const script = `
      const { loadNative } = await import(${JSON.stringify(`${root}dist/src/native/load.js`)});
      const { CountProgram, places, programPath, objectPath } = await import(
        ${JSON.stringify(`${root}dist/test/e2e/fixtures/count.js`)});
      const native = loadNative();
      const programs = await native.load({ object: objectPath, attach: 'multi', sleepable: false,
        programs: ['hit'], settings: Buffer.from('01000000000000000100000000000000', 'hex') });
      const program = await CountProgram.start();
      await programs.attachUprobes('hit', { path: programPath, pid: program.pid,
        offsets: Float64Array.of(places().get('alpha').offset), cookies: Float64Array.of(1) });
      let uncaught = 0, batches = 0, bytes = 0;
      process.on('uncaughtException', () => uncaught++);
      const reader = native.read(programs.map('ring'),
        { intervalMs: 1, batchBytes: 2400, maxPending: 1 }, (batch) => {
          bytes += batch.length;
          if (++batches % 2) throw new Error('mistake');
        });
      await program.call('alpha', 1, 3000);
      await reader.drain();
      console.log(uncaught === Math.ceil(batches / 2), bytes);
      await program.stop();`;
    const output = execFileSync(process.execPath, ['--input-type=module', '-e', script], {
      encoding: 'utf8',
    });
    assert.equal(output.trim(), `true ${3000 * RECORD_SIZE}`);
  });

  test('an idle ring costs less than 0.5 % of a CPU', async (context) => {
    const programs = await load();
    const reader = native.read(programs.map('ring'), options, () => {});
    let own: string | undefined;
    await until(() => {
      own = readdirSync('/proc/self/task').find(
        (task) => readFileSync(`/proc/self/task/${task}/comm`, 'utf8').trim() === 'underspan-ring',
      );
      return own !== undefined;
    }, 'the reader has no thread');
    const used = () =>
      Number(readFileSync(`/proc/self/task/${own}/schedstat`, 'utf8').split(' ')[0]);
    await sleep(300);
    const from = used();
    await sleep(2000);
    const share = (used() - from) / 2e9;
    context.diagnostic(`${(share * 100).toFixed(3)} % of a CPU`);
    assert.ok(share < 0.005, `${(share * 100).toFixed(3)} %`);
    await reader.stop();
    programs.close();
  });
});
