/** Commands from their first instruction, what they execute, and processes that start later. */
import assert from 'node:assert/strict';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { inFolder } from '../tools/folder.js';
import { buildTarget } from '../tools/go.js';
import { RunningProcess, sleep } from '../tools/process.js';
import { requireBpf } from '../tools/require.js';
import { totalLost, Tracer } from '../tools/tracer.js';

const FUNCTIONS = ['work', 'step', 'descend', 'grow'].map((name) => `main.${name}`);
const ROUNDS = 500;

/** What the program counted itself, by full name. */
async function countedBy(file: string): Promise<Map<string, number>> {
  const { calls } = JSON.parse(await readFile(file, 'utf8')) as { calls: Record<string, number> };
  return new Map(
    Object.entries(calls).map(([name, count]) => [name.replace(/^(main\.)?/, 'main.'), count]),
  );
}

function assertCalls(tracer: Tracer, counted: ReadonlyMap<string, number>, times = 1): void {
  for (const name of FUNCTIONS) {
    const found = tracer.result.functions.find((each) => each.name === name);
    assert.equal(found?.calls, (counted.get(name) ?? NaN) * times, name);
  }
  const calls = tracer.result.functions.reduce((sum, each) => sum + each.calls, 0);
  assert.equal(tracer.spans.length + totalLost(tracer.result), calls);
}

test('a command is traced from its first instruction to its last', async (t) => {
  if (!requireBpf(t)) return;
  const tiny = await buildTarget('tiny');
  await inFolder(async (folder) => {
    const file = join(folder, 'truth.json');
    const tracer = await Tracer.attach([...FUNCTIONS, '--', tiny, file, String(ROUNDS)]);
    assert.equal(await tracer.ended(), 0, tracer.stderr);
    assertCalls(tracer, await countedBy(file));
  });
});

test('a command that is built as a position-independent executable', async (t) => {
  if (!requireBpf(t)) return;
  const tiny = await buildTarget('tiny', { flags: ['-buildmode=pie'] });
  await inFolder(async (folder) => {
    const file = join(folder, 'truth.json');
    const tracer = await Tracer.attach([...FUNCTIONS, '--', tiny, file, String(ROUNDS)]);
    assert.equal(await tracer.ended(), 0, tracer.stderr);
    assertCalls(tracer, await countedBy(file));
    const sources = new Set(
      tracer.spans.map(({ attributes }) => attributes['underspan.context.source']),
    );
    assert.ok(sources.has('go.context') && sources.has('go.sdk'), [...sources].join());
  });
});

test('a script is followed into what it executes', async (t) => {
  if (!requireBpf(t)) return;
  const tiny = await buildTarget('tiny');
  await inFolder(async (folder) => {
    const file = join(folder, 'truth.json');
    const script = join(folder, 'run.sh');
    // What a script starts is attached to while it runs, so it must run for a while.
    await writeFile(script, `#!/bin/sh\nexec ${tiny} ${file} 400000\n`);
    await chmod(script, 0o755);
    const child = Tracer.start(['--entry-only', ...FUNCTIONS, '--', script]);
    assert.equal(await child.ended(), 0, child.stderr);
    const work = child.result.functions.find(({ name }) => name === 'main.work');
    assert.ok((work?.calls ?? 0) > 0, child.stderr);
  });
});

test('processes of an executable that start later are traced from their first call', async (t) => {
  if (!requireBpf(t)) return;
  const tiny = await buildTarget('tiny');
  await inFolder(async (folder) => {
    const file = join(folder, 'truth.json');
    // One that runs while it is attached, so that there is something to select.
    const first = await RunningProcess.start('sh', ['-c', `exec ${tiny} ${file} 100000000`]);
    try {
      await sleep(200);
      const tracer = await Tracer.attach(['--exe', tiny, '--entry-only', ...FUNCTIONS]);
      await first.stop('SIGKILL');
      const before = tracer.spans.length;
      assert.equal(before, 0);
      for (let run = 0; run < 3; run++) {
        const later = await RunningProcess.start(tiny, [file, String(ROUNDS)]);
        while (later.running) await sleep(20);
      }
      assert.equal(await tracer.stop(), 0, tracer.stderr);
      const counted = await countedBy(file);
      for (const name of FUNCTIONS) {
        const calls = tracer.result.functions.find((each) => each.name === name)?.calls ?? 0;
        assert.ok(calls >= (counted.get(name) ?? NaN) * 3, `${name}: ${calls}`);
      }
    } finally {
      await first.stop('SIGKILL');
    }
  });
});
