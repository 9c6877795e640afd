import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';

import type { NativeError, Programs, UprobeSites } from '../../src/native/native.js';
import { CountProgram, objectPath, programPath, root, TABLE_FUNCTIONS } from './fixtures/count.js';
import {
  FINE,
  RECORD_SIZE,
  count,
  fails,
  features,
  firstByte,
  load,
  native,
  needsBpf,
  number64,
  openKernelObjects,
  prepare,
  settings,
  sites,
  total,
} from './fixtures/counting.js';

before(prepare);

test('features agree with each other', needsBpf, () => {
  assert.equal(features.ringBuffer, true);
  for (const value of Object.values(features)) assert.equal(typeof value, 'boolean');
  // Each came later than the next.
  if (features.uprobeMultiThreads) assert.ok(features.uprobeMulti);
  if (features.uprobeMulti) assert.ok(features.sleepable);
  if (features.sleepable) assert.ok(features.cookies);
  if (features.cookies) assert.ok(features.atomics);
});

test('the clock offset leads from the monotonic clock to the wall clock', needsBpf, () => {
  const wall = Number((process.hrtime.bigint() + native.clockOffset()) / 1_000_000n);
  assert.ok(Math.abs(wall - Date.now()) < 50);
});

for (const attach of ['multi', 'perf'] as const) {
  for (const sleepable of [false, true]) {
    describe(`${attach}${sleepable ? ', sleepable' : ''}`, needsBpf, () => {
      let program: CountProgram;
      let other: CountProgram;
      let programs: Programs;

      before(async (context) => {
        if (attach === 'multi' && !features.uprobeMulti)
          return (context as { skip?: (why: string) => void }).skip?.('no uprobe_multi here');
        program = await CountProgram.start();
        other = await CountProgram.start();
        programs = await load({ attach, sleepable, settings: settings(3n, true) });
      });
      after(async () => {
        await program.stop();
        await other.stop();
        programs.close();
      });

      test('one process: counts are the program’s own, by cookie, and so are the records', async () => {
        const byCookie = new Map<number, number>();
        const reader = native.read(
          programs.map('ring'),
          { intervalMs: 5, batchBytes: 4096, maxPending: 4 },
          (batch) => {
            assert.ok(batch.length <= 4096);
            assert.equal(batch.length % RECORD_SIZE, 0);
            for (let at = 0; at < batch.length; at += RECORD_SIZE) {
              assert.equal(batch.readUInt32LE(at + 4), RECORD_SIZE);
              const cookie = Number(batch.readBigUInt64LE(at + 8));
              byCookie.set(cookie, (byCookie.get(cookie) ?? 0) + 1);
            }
          },
        );
        const link = await programs.attachUprobes(
          'hit',
          sites(['alpha', 'beta'], program.pid, [70, 71]),
        );
        assert.equal(link.sites, 2);
        assert.equal(firstByte(program.pid, 'alpha'), 0xcc);
        const alpha = await program.call('alpha', 3, 4000);
        const beta = await program.call('beta', 2, 1500);
        await other.call('alpha', 2, 1000);
        assert.equal(count(programs, 70), 3 * alpha);
        assert.equal(count(programs, 71), 3 * beta);
        assert.equal(total(programs, 0), alpha + beta);
        await reader.drain();
        assert.equal(total(programs, 1), 0);
        assert.deepEqual([...byCookie].sort(), [
          [70, alpha],
          [71, beta],
        ]);
        await link.detach();
        assert.notEqual(firstByte(program.pid, 'alpha'), 0xcc);
        await program.call('alpha', 1, 1000);
        assert.equal(count(programs, 70), 3 * alpha);
        await reader.stop();
      });

      test('every process that maps the file', async () => {
        const link = await programs.attachUprobes('hit', sites(['beta'], null, [90]));
        const calls = (await program.call('beta', 2, 500)) + (await other.call('beta', 1, 700));
        assert.equal(count(programs, 90), 3 * calls);
        await link.detach();
      });

      test('all sites or none', async () => {
        const bad = sites(['alpha', 'beta'], program.pid);
        bad.offsets[1] = 1 << 30;
        await assert.rejects(programs.attachUprobes('hit', bad), fails('ATTACH_FAILED'));
        assert.notEqual(firstByte(program.pid, 'alpha'), 0xcc);
      });
    });
  }
}

describe('failures', needsBpf, () => {
  test('loading', async () => {
    const broken = load({ programs: ['broken'] });
    await assert.rejects(
      broken,
      fails('BPF_REFUSED', (error) => {
        assert.match(error.message, /verifier refused program broken: .*mem/);
        assert.match(error.log!, /map_value_or_null/);
        assert.ok(error.log!.split('\n').length <= 17);
        assert.doesNotMatch(error.log!, /processed \d+ insns/);
      }),
    );
    await assert.rejects(
      load({ object: '/nowhere.bpf.o' }),
      fails('BPF_FAILED', (error) => {
        assert.match(error.message, /nowhere.*No such file/);
        assert.equal(error.errno, 2);
      }),
    );
    await assert.rejects(load({ object: programPath }), fails('BPF_FAILED'));
    await assert.rejects(
      load({ settings: Buffer.alloc(8) }),
      fails('BPF_FAILED', (error) => {
        assert.match(error.message, /Settings of 8 bytes.*has 16/);
      }),
    );
    await assert.rejects(load({ maps: { nothing: { maxEntries: 1 } } }), fails('BPF_FAILED'));
    await assert.rejects(load({ programs: ['nothing'] }), fails('BPF_FAILED'));
    await assert.rejects(load({ maps: { table: { maxEntries: 2 ** 32 - 1 } } }), (error) => {
      assert.match((error as NativeError).code, /^BPF_/);
      return true;
    });
    assert.deepEqual(openKernelObjects(), []);
  });

  test('attaching', async () => {
    const programs = await load();
    const here = sites(['alpha'], null);
    const refused = async (change: Partial<UprobeSites>, check?: (error: NativeError) => void) =>
      assert.rejects(
        programs.attachUprobes('hit', { ...here, ...change }),
        fails('ATTACH_FAILED', check),
      );
    await refused({ path: '/nowhere' }, (error) => assert.equal(error.errno, 2));
    await refused({ path: '/' });
    await refused({ pid: 4194300 }, (error) => assert.equal(error.errno, 3));
    await refused({ offsets: Float64Array.of(1 << 30) });
    await assert.rejects(programs.attachUprobes('nothing', here), fails('BPF_FAILED'));
    assert.throws(
      () => programs.attachUprobes('hit', { ...here, offsets: Float64Array.of(-1) }),
      TypeError,
    );
    assert.throws(
      () => programs.attachUprobes('hit', { ...here, offsets: Float64Array.of(1, 2) }),
      TypeError,
    );
    const perf = await load({ attach: 'perf' });
    for (const change of [{ path: '/nowhere' }, { pid: 4194300 }, { path: '/' }])
      await assert.rejects(
        perf.attachUprobes('hit', { ...here, ...change }),
        fails('ATTACH_FAILED'),
      );
    perf.close();
    programs.close();
  });

  test('use after close', async () => {
    const programs = await load();
    const table = programs.map('table');
    const ring = programs.map('ring');
    const going = table.entries();
    programs.close();
    await going;
    const closed = fails('CLOSED');
    assert.throws(() => table.lookup(number64(1)), closed);
    assert.throws(() => table.update(number64(1), number64(1)), closed);
    assert.throws(() => table.delete(number64(1)), closed);
    await assert.rejects(table.entries(), closed);
    assert.throws(() => programs.map('table'), closed);
    assert.throws(() => programs.runTimes(), closed);
    await assert.rejects(programs.attachUprobes('hit', sites(['alpha'], null)), closed);
    await assert.rejects(programs.attachTracepoint('forked'), closed);
    assert.throws(
      () => native.read(ring, { intervalMs: 5, batchBytes: 1, maxPending: 1 }, () => {}),
      closed,
    );
    await assert.rejects(load({ maps: { table: { reuse: table } } }), closed);
  });

  test('without privileges', () => {
    const script = `
      const { loadNative } = await import(${JSON.stringify(`${root}dist/src/native/load.js`)});
      process.setgroups([]); process.setgid(65534); process.setuid(65534);
      const native = loadNative();
      const codes = [];
      for (const attempt of [() => native.features(), () => native.load(${JSON.stringify({
        object: objectPath,
        attach: 'multi',
        sleepable: false,
        programs: FINE,
      })}), async () => native.enableRunTimeStatistics()])
        await attempt().then(() => codes.push('fine'), (error) => codes.push(error.code));
      console.log(codes.join());`;
    const output = execFileSync(process.execPath, ['--input-type=module', '-e', script], {
      encoding: 'utf8',
    });
    assert.equal(output.trim(), 'BPF_NOT_PERMITTED,BPF_NOT_PERMITTED,BPF_NOT_PERMITTED');
  });
});

test('a raw tracepoint', needsBpf, async () => {
  const programs = await load();
  const link = await programs.attachTracepoint('forked');
  for (let i = 0; i < 5; i++) execFileSync('/bin/true');
  await link.detach();
  assert.ok(total(programs, 2) >= 5);
  programs.close();
});

test('run-time statistics', needsBpf, async () => {
  const program = await CountProgram.start();
  const programs = await load();
  const link = await programs.attachUprobes('hit', sites(['alpha'], program.pid));
  const statistics = native.enableRunTimeStatistics();
  const own = await program.call('alpha', 2, 1000);
  const [hit] = programs.runTimes();
  assert.equal(hit!.program, 'hit');
  assert.equal(hit!.runCount, own);
  assert.ok(hit!.runTimeNs > own * 10);
  assert.equal(hit!.recursionMisses, 0);
  statistics.close();
  statistics.close();
  await link.detach();
  programs.close();
  await program.stop();
});

test('thousands of sites attach and detach in a moment', needsBpf, async (context) => {
  if (!features.uprobeMulti) return context.skip('no uprobe_multi here');
  const program = await CountProgram.start();
  const programs = await load({ settings: settings(1n, false) });
  const names = Array.from({ length: TABLE_FUNCTIONS }, (_, n) => `f${n}`);
  const began = performance.now();
  const link = await programs.attachUprobes('hit', sites(names, program.pid));
  const attached = performance.now();
  assert.equal(link.sites, TABLE_FUNCTIONS);
  await program.call('every');
  const counts = programs.map('counts').read(0, TABLE_FUNCTIONS);
  for (let i = 0; i < TABLE_FUNCTIONS; i++) assert.equal(counts.readBigUInt64LE(i * 8), 1n);
  const detaching = performance.now();
  await link.detach();
  const detached = performance.now();
  context.diagnostic(
    `${TABLE_FUNCTIONS} sites: attached in ${(attached - began).toFixed(0)} ms, ` +
      `detached in ${(detached - detaching).toFixed(0)} ms`,
  );
  assert.ok(attached - began < 5000);
  assert.ok(detached - detaching < 5000);
  programs.close();
  await program.stop();
});
