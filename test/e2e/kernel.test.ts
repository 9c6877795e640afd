import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, readSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { loadNative } from '../../src/native/load.js';
import type {
  BpfMap,
  Features,
  LoadOptions,
  NativeError,
  NativeErrorCode,
  Programs,
  UprobeSites,
} from '../../src/native/native.js';
import {
  buildCount,
  CountProgram,
  objectPath,
  places,
  programPath,
  root,
  TABLE_FUNCTIONS,
  type Place,
} from './fixtures/count.js';
import { missingBpf } from '../tools/require.js';

const needsBpf = { skip: missingBpf() };
const native = loadNative();
const RECORD_SIZE = 24;
const FINE = ['hit', 'hesitate', 'forked', 'touch'];

let features: Features;
let functions: Map<string, Place>;

before(async () => {
  if (needsBpf.skip !== false) return;
  buildCount();
  functions = places();
  features = await native.features();
});

function settings(weight: bigint, records: boolean): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeBigUInt64LE(weight, 0);
  bytes.writeUInt32LE(records ? 1 : 0, 8);
  return bytes;
}

function load(options: Partial<LoadOptions> = {}): Promise<Programs> {
  return native.load({
    object: objectPath,
    attach: 'multi',
    sleepable: false,
    programs: FINE,
    ...options,
  });
}

function sites(names: string[], pid: number | null, cookies?: number[]): UprobeSites {
  return {
    path: programPath,
    pid,
    offsets: Float64Array.from(names, (name) => functions.get(name)!.offset),
    cookies: Float64Array.from(cookies ?? names.map((_, i) => i)),
  };
}

function key32(index: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(index);
  return bytes;
}

function number64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

const count = (programs: Programs, index: number) =>
  Number(programs.map('counts').read(index, 1).readBigUInt64LE());
const total = (programs: Programs, index: number) =>
  Number(programs.map('totals').lookup(key32(index))!.readBigUInt64LE());

function fails(code: NativeErrorCode, check?: (error: NativeError) => void) {
  return (error: unknown) => {
    assert.equal((error as NativeError).code, code, String(error));
    check?.(error as NativeError);
    return true;
  };
}

/** What this process has open that belongs to BPF or perf. */
function openKernelObjects(): string[] {
  const found: string[] = [];
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      if (/bpf|perf_event/.test(target)) found.push(target);
    } catch {
      // The directory's own descriptor is gone by now.
    }
  }
  return found.sort();
}

/** The first byte of a function in a process: 0xcc while it carries a probe. */
function firstByte(pid: number, name: string): number {
  const maps = readFileSync(`/proc/${pid}/maps`, 'utf8');
  const start = parseInt(/^\w+/.exec(maps)![0], 16);
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  const byte = Buffer.alloc(1);
  readSync(memory, byte, 0, 1, start + functions.get(name)!.address);
  closeSync(memory);
  return byte[0]!;
}

async function until(condition: () => boolean, what: string, ms = 5000): Promise<void> {
  const end = Date.now() + ms;
  while (!condition()) {
    assert.ok(Date.now() < end, `${what}, after ${ms} ms`);
    await sleep(10);
  }
}

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

describe('what is left behind', needsBpf, () => {
  let program: CountProgram;
  let intact: number;
  before(async () => {
    program = await CountProgram.start();
    intact = firstByte(program.pid, 'alpha');
  });
  after(() => program.stop());

  /** Another process, or a worker in one, that attaches to the program and says so. */
  function start(then: string): ChildProcess {
    const options: LoadOptions = {
      object: objectPath,
      attach: 'multi',
      sleepable: false,
      programs: FINE,
      settings: settings(1n, true),
    };
    const script = `
      const { loadNative } = await import(${JSON.stringify(`${root}dist/src/native/load.js`)});
      async function attach() {
        const native = loadNative();
        const options = ${JSON.stringify(options)};
        options.settings = Buffer.from(options.settings.data);
        const programs = await native.load(options);
        const link = await programs.attachUprobes('hit', {
          path: ${JSON.stringify(programPath)}, pid: ${program.pid},
          offsets: Float64Array.of(${functions.get('alpha')!.offset}), cookies: Float64Array.of(1),
        });
        const reader = native.read(
          programs.map('ring'), { intervalMs: 5, batchBytes: 65536, maxPending: 4 }, () => {});
        return [link, reader, programs];
      }
      ${then}`;
    return spawn(process.execPath, ['--expose-gc', '--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
  }

  async function attached(child: ChildProcess): Promise<void> {
    for await (const line of createInterface({ input: child.stdout! })) {
      assert.equal(line, 'attached');
      break;
    }
    assert.equal(firstByte(program.pid, 'alpha'), 0xcc);
  }

  async function ends(child: ChildProcess): Promise<void> {
    const status = await Promise.race([
      new Promise((resolve) => child.once('exit', resolve)),
      sleep(10_000).then(() => 'hangs'),
    ]);
    assert.equal(status, 0);
  }

  async function gone(): Promise<void> {
    await until(() => firstByte(program.pid, 'alpha') === intact, 'the probe is still there');
    assert.equal(await program.call('alpha', 1, 100), 100);
  }

  test('by a process that is killed', async () => {
    const child = start(`globalThis.kept = await attach();
      console.log('attached');
      setInterval(() => {}, 1000);`);
    await attached(child);
    const calls = program.call('alpha', 2, 50_000);
    child.kill('SIGKILL');
    assert.equal(await calls, 100_000);
    await gone();
  });

  // The kernel leaves the breakpoint behind when the thread that takes it out is killed, as an
  // exiting process does with its threads; rare, so tried several times.
  for (const [how, end] of [
    ['closes nothing', ''],
    ['calls process.exit', 'process.exit(0);'],
    ['exits while it detaches', 'link.detach(); setTimeout(() => process.exit(0), 5);'],
    [
      'exits while a link that was garbage is closed',
      'link = null; setImmediate(() => { gc(); process.exit(0); });',
    ],
  ] as const) {
    test(`by a process that ${how}`, async () => {
      for (let i = 0; i < 8; i++) {
        const child = start(`let [link, ...rest] = await attach(); globalThis.kept = rest;
          if (${JSON.stringify(how)} === 'closes nothing') globalThis.link = link;
          ${end}`);
        await ends(child);
        assert.equal(firstByte(program.pid, 'alpha'), intact, `the probe is still there, try ${i}`);
      }
      await gone();
    });
  }

  test('by a worker that is terminated while records come', async () => {
    const child = start(`
      const { Worker } = await import('node:worker_threads');
      // The worker takes over how this source is read: as a module.
      const worker = new Worker(\`
        import { parentPort } from 'node:worker_threads';
        const { loadNative } = await import(${JSON.stringify(`${root}dist/src/native/load.js`)});
        \${attach.toString()}
        globalThis.kept = await attach();
        // Reading alone keeps no worker alive, and one that ended would not be terminated.
        setInterval(() => {}, 1000);
        parentPort.postMessage('attached');\`, { eval: true });
      await new Promise((resolve) => worker.once('message', resolve));
      console.log('attached');
      await new Promise((resolve) => setTimeout(resolve, 100));
      await worker.terminate();`);
    await attached(child);
    const calls = program.call('alpha', 1, 100_000);
    await ends(child);
    assert.equal(await calls, 100_000);
    await gone();
  });

  test('by a link that was garbage', async () => {
    const child = start(`
      const [, reader] = await attach();
      console.log('attached');
      await new Promise((resolve) => setTimeout(resolve, 200));
      gc();
      setInterval(() => reader, 1000);`);
    await attached(child);
    await gone();
    child.kill('SIGKILL');
  });
});

test('detaching and closing give everything back', needsBpf, async () => {
  const program = await CountProgram.start();
  const before = openKernelObjects();
  for (const attach of ['multi', 'perf'] as const) {
    const programs = await load({ attach, settings: settings(1n, true) });
    const reader = native.read(
      programs.map('ring'),
      { intervalMs: 5, batchBytes: 65536, maxPending: 4 },
      () => {},
    );
    const link = await programs.attachUprobes('hit', sites(['alpha', 'beta'], program.pid));
    const tracepoint = await programs.attachTracepoint('forked');
    programs.map('counts').read(0, 10);
    await program.call('alpha', 2, 100);
    assert.equal(openKernelObjects().filter((name) => name.includes('link')).length >= 2, true);
    const ids = kernelProgramIds();
    assert.equal(ids.length, FINE.length);
    await Promise.all([link.detach(), tracepoint.detach()]);
    await link.detach();
    await reader.stop();
    await reader.stop();
    programs.close();
    programs.close();
    assert.deepEqual(openKernelObjects(), before);
    // The kernel frees programs a grace period later.
    await until(() => ids.every((id) => !programExists(id)), 'programs are still loaded');
  }
  await program.stop();
});

function kernelProgramIds(): number[] {
  const ids: number[] = [];
  for (const fd of readdirSync('/proc/self/fdinfo')) {
    try {
      if (!readlinkSync(`/proc/self/fd/${fd}`).includes('bpf-prog')) continue;
      const info = readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8');
      ids.push(Number(/^prog_id:\s*(\d+)$/m.exec(info)![1]));
    } catch {
      // The directory's own descriptor is gone by now.
    }
  }
  return ids;
}

function programExists(id: number): boolean {
  return spawnSync('bpftool', ['prog', 'show', 'id', String(id)]).status === 0;
}

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
