/** Several processes at once, those that start later, and those whose beginning nobody saw. */
import assert from 'node:assert/strict';
import { copyFile, rename } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { TRANSPORTS } from '../../src/session/transport.js';
import { inFolder } from '../tools/folder.js';
import { buildTarget } from '../tools/go.js';
import { RunningProcess, sleep } from '../tools/process.js';
import { requireBpf } from '../tools/require.js';
import { totalLost, Tracer } from '../tools/tracer.js';

/** One process of the program `resource`, which names itself and counts its own calls. */
class Worker {
  private constructor(
    readonly name: string,
    readonly rounds: number,
    readonly process: RunningProcess,
  ) {}

  static async start(binary: string, name: string, rounds: number): Promise<Worker> {
    const process = await RunningProcess.start(binary, [], {
      NAME: name,
      ROUNDS: String(rounds),
      // Nobody listens: only the tracer's own spans are looked at.
      OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9',
      OTEL_EXPORTER_OTLP_TIMEOUT: '100',
    });
    await process.until('ready', () => (process.output.includes('ready') ? true : null));
    return new Worker(name, rounds, process);
  }

  /** Works; resolves when it has, to how often it did. */
  async work(): Promise<number> {
    this.process.child.kill('SIGUSR1');
    return this.process.until('done', () => {
      const said = /worked (\d+) times/.exec(this.process.output)?.[1];
      return said === undefined ? null : Number(said);
    });
  }

  stop(): Promise<void> {
    return this.process.stop('SIGKILL');
  }
}

/** As many spans of each as it counted calls, and each in its own resource. */
function assertOwn(tracer: Tracer, workers: readonly Worker[], counted: readonly number[]): void {
  workers.forEach(({ name, rounds, process }, index) => {
    assert.equal(counted[index], rounds);
    const spans = tracer.spans.filter(
      ({ attributes }) => attributes['process.pid'] === process.pid,
    );
    assert.equal(spans.length, rounds, `${name}: ${tracer.stderr}`);
    for (const { resource } of spans) assert.equal(resource['service.name'], name);
  });
  const calls = counted.reduce((sum, each) => sum + each, 0);
  const { functions, lost } = tracer.result;
  assert.equal(
    functions.reduce((sum, each) => sum + each.calls, 0),
    calls,
  );
  assert.equal(tracer.spans.length, calls);
  assert.equal(totalLost(tracer.result), 0, JSON.stringify(lost));
}

for (const transport of TRANSPORTS) {
  test(`three processes, two that start later, one again, and another file by the same name (${transport})`, async (t) => {
    if (!requireBpf(t)) return;
    const binary = await buildTarget('resource');
    const replacement = await buildTarget('resource', { flags: ['-ldflags=-s -w'] });
    await inFolder(async (folder) => {
      const path = join(folder, 'service');
      await copyFile(binary, path);
      const workers: Worker[] = [];
      const start = async (name: string, rounds: number): Promise<Worker> => {
        const worker = await Worker.start(path, name, rounds);
        workers.push(worker);
        return worker;
      };
      try {
        for (const n of [1, 2, 3]) await start(`first ${n}`, 20 + n);
        const tracer = await Tracer.attach(['--transport', transport, '--exe', path, 'main.work']);
        for (const n of [1, 2]) await start(`later ${n}`, 30 + n);
        const ended = await Worker.start(path, 'ended', 5);
        assert.equal(await ended.work(), 5);
        await ended.stop();
        await start('again', 41);
        await copyFile(replacement, `${path}.new`);
        await rename(`${path}.new`, path);
        await start('replaced', 51);
        await workers[0]?.process.until('followed', () =>
          /process \d+/.test(
            tracer.notices.find(({ code }) => code === 'PROCESS_FOLLOWED')?.message ?? '',
          )
            ? true
            : null,
        );
        const counted = await Promise.all(workers.map((worker) => worker.work()));
        await sleep(300);
        assert.equal(await tracer.stop(), 0, tracer.stderr);
        assertOwn(tracer, [ended, ...workers], [5, ...counted]);
      } finally {
        for (const worker of workers) await worker.stop();
      }
    });
  });
}

test('processes that start while others are being attached to', async (t) => {
  if (!requireBpf(t)) return;
  const binary = await buildTarget('resource');
  await inFolder(async (folder) => {
    const path = join(folder, 'underspan-comm');
    await copyFile(binary, path);
    const workers = [await Worker.start(path, 'worker 0', 10)];
    try {
      const attached = Tracer.attach(['--comm', basename(path), 'main.work']);
      const deadline = Date.now() + 20_000;
      let over = false as boolean;
      void attached.finally(() => (over = true)).catch(() => undefined);
      while (!over && Date.now() < deadline && workers.length < 40) {
        workers.push(await Worker.start(path, `worker ${workers.length}`, 10));
      }
      const tracer = await attached;
      assert.ok(workers.length > 3, 'none started in the meantime');
      await sleep(1_000);
      const counted = await Promise.all(workers.map((worker) => worker.work()));
      await sleep(300);
      assert.equal(await tracer.stop(), 0, tracer.stderr);
      t.diagnostic(`${workers.length} processes`);
      assertOwn(tracer, workers, counted);
    } finally {
      for (const worker of workers) await worker.stop();
    }
  });
});

for (const transport of TRANSPORTS) {
  test(`processes whose events did not fit the ring (${transport})`, async (t) => {
    if (!requireBpf(t)) return;
    const binary = await buildTarget('resource');
    const tiny = await buildTarget('tiny');
    await inFolder(async (folder) => {
      const path = join(folder, 'underspan-lost');
      const busy = join(folder, 'underspan-busy');
      await copyFile(binary, path);
      await copyFile(tiny, busy);
      const workers: Worker[] = [];
      // Fills the ring as long as it runs.
      const noise = await RunningProcess.start(busy, [join(folder, 'truth'), '100000000']);
      try {
        const tracer = await Tracer.attach([
          ...['--comm', basename(busy), '--comm', basename(path)],
          ...['--transport', transport, '--ring-size', '4KiB', 'main.work', 'main.step'],
        ]);
        // While nobody reads the ring.
        tracer.child.kill('SIGSTOP');
        await sleep(200);
        for (let n = 0; n < 4; n++) workers.push(await Worker.start(path, `worker ${n}`, 10));
        await noise.stop('SIGKILL');
        tracer.child.kill('SIGCONT');
        // Looked for once a second, and then attached to.
        await sleep(3_000);
        // One after the other, for whom the ring has room enough.
        const counted: number[] = [];
        for (const worker of workers) counted.push(await worker.work());
        await sleep(300);
        assert.equal(await tracer.stop(), 0, tracer.stderr);
        assert.ok((tracer.result.lost['ringFull'] ?? 0) > 0, 'the ring was never full');
        workers.forEach(({ process, name }, index) => {
          const spans = tracer.spans.filter(
            (each) => each.attributes['process.pid'] === process.pid,
          );
          assert.equal(spans.length, counted[index], `${name}: ${tracer.stderr}`);
          for (const { resource } of spans) assert.equal(resource['service.name'], name);
        });
      } finally {
        await noise.stop('SIGKILL');
        for (const worker of workers) await worker.stop();
      }
    });
  });
}
