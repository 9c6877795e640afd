/** One function at several addresses: which of its probe's hits begin calls, and which end them. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { test } from 'node:test';
import { featuresOf } from '../../src/engine.js';
import { loadNative } from '../../src/native/load.js';
import { inFolder } from '../tools/folder.js';
import { compileNative } from '../tools/native-targets.js';
import { requireBpf, requireCommands, type Skippable } from '../tools/require.js';
import { totalLost, Tracer } from '../tools/tracer.js';

async function requireSessions(t: Skippable): Promise<boolean> {
  if (!requireBpf(t) || !requireCommands(t, ['gcc'])) return false;
  if ((await featuresOf(loadNative())).uprobeSession) return true;
  t.skip('this kernel has no uprobe.session');
  return false;
}

function assertAllReturned({ result, spans }: Tracer, calls: number): void {
  const [traced] = result.functions;
  assert.deepEqual([traced?.calls, traced?.spans], [calls, calls], JSON.stringify(result.lost));
  assert.equal(totalLost(result), 0, JSON.stringify(result.lost));
  assert.equal(spans.length, calls);
  assert.ok(spans.every(({ parentSpanId }) => parentSpanId === null));
  assert.ok(spans.every(({ status }) => status.code === 'unset'));
}

for (const [way, args] of [
  ['seen through replaced return addresses', ['--return-trampoline']],
  ['seen at their instructions', []],
] as const) {
  test(`a library that is mapped twice, and again elsewhere: returns ${way}`, async (t) => {
    if (!(await requireSessions(t))) return;
    await inFolder(async (folder) => {
      const library = join(folder, 'libmoved.so');
      await compileNative('gcc', 'moved.c', library, ['-shared', '-nostdlib', '-fPIC']);
      const linked = ['-O2', library, `-Wl,-rpath,${folder}`];
      const program = await compileNative('gcc', 'moves.c', join(folder, 'moves'), linked);
      const child = spawn(program, [library], { stdio: ['pipe', 'pipe', 'inherit'] });
      let output = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
      const closed = once(child, 'close');
      try {
        const pattern = 'libmoved.so:moved_work';
        const tracer = await Tracer.attach([...args, '--pid', String(child.pid), pattern]);
        child.stdin.write('\n');
        assert.deepEqual(await closed, [0, null]);
        assert.equal(await tracer.stop(), 0, tracer.stderr);
        assertAllReturned(tracer, Number(output));
      } finally {
        child.kill('SIGKILL');
      }
    });
  });
}

/** Makes as many calls of work() as it is asked for. */
async function call(program: ChildProcess, times: number): Promise<void> {
  assert.ok(program.stdout);
  const answer = once(program.stdout, 'data');
  program.stdin?.write(`${times}\n`);
  await answer;
}

test('processes of one executable, each at its own address', async (t) => {
  if (!(await requireSessions(t))) return;
  await inFolder(async (folder) => {
    const options = ['-O2', '-fPIE', '-pie'];
    const program = await compileNative('gcc', 'calls.c', join(folder, 'calls'), options);
    const running = [0, 1, 2].map(() => spawn(program, { stdio: ['pipe', 'pipe', 'inherit'] }));
    try {
      const pids = running.flatMap(({ pid }) => ['--pid', String(pid)]);
      const tracer = await Tracer.attach(['--return-trampoline', ...pids, 'work']);
      for (let round = 0; round < 5; round++) {
        for (const each of running) await call(each, 20);
      }
      assert.equal(await tracer.stop(), 0, tracer.stderr);
      assertAllReturned(tracer, 5 * 3 * 20);
    } finally {
      for (const each of running) each.kill('SIGKILL');
    }
  });
});
