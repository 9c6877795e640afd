import assert from 'node:assert/strict';
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import type { LoadOptions } from '../../src/native/native.js';
import { CountProgram, objectPath, programPath, root } from './fixtures/count.js';
import {
  FINE,
  firstByte,
  functions,
  load,
  native,
  needsBpf,
  openKernelObjects,
  prepare,
  settings,
  sites,
  until,
} from './fixtures/counting.js';

before(prepare);

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
