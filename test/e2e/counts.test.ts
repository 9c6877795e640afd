/** calls = spans + losses, against the shop's own count. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Summary } from '../../src/sinks/sink.js';
import { inFolder } from '../tools/folder.js';
import { buildTarget } from '../tools/go.js';
import { requireBpf } from '../tools/require.js';
import { Shop } from '../tools/shop.js';
import { totalLost, Tracer } from '../tools/tracer.js';

const CALLS = 1_000_000;
const REQUESTS = 20;

async function burn(args: string[]): Promise<{ counted: number; tracer: Tracer; result: Summary }> {
  const shop = await Shop.start();
  try {
    const tracer = await Tracer.attach(['--pid', String(shop.pid), 'main.tick', ...args]);
    // All calls of a request are in one trace: of several requests not all are kept or dropped.
    for (let request = 0; request < REQUESTS; request++) {
      const response = await fetch(`${shop.url}/burn?calls=${CALLS / REQUESTS}&goroutines=8`);
      assert.equal(response.status, 200);
    }
    const { calls } = await shop.counters();
    assert.equal(await tracer.stop(), 0, tracer.stderr);
    return { counted: calls['main.tick'] ?? 0, tracer, result: tracer.result };
  } finally {
    await shop.stop();
  }
}

function calls(result: Summary): number {
  return result.functions.find(({ name }) => name === 'main.tick')?.calls ?? 0;
}

test('a million calls, all spans', async (t) => {
  if (!requireBpf(t)) return;
  const { counted, tracer, result } = await burn(['--ring-size', '64MiB']);
  t.diagnostic(JSON.stringify(result.lost));
  assert.equal(counted, CALLS);
  assert.equal(calls(result), counted);
  assert.equal(tracer.spans.length + totalLost(result), counted);
});

test('a million calls through a ring that is too small', async (t) => {
  if (!requireBpf(t)) return;
  const { counted, tracer, result } = await burn(['--ring-size', '4KiB']);
  t.diagnostic(JSON.stringify(result.lost));
  assert.equal(calls(result), counted);
  assert.ok((result.lost['ringFull'] ?? 0) > 0, 'nothing was lost: the ring is not too small');
  assert.equal(tracer.spans.length + totalLost(result), counted);
});

test('a million calls, sampled, rate limited, and too short', async (t) => {
  if (!requireBpf(t)) return;
  for (const [args, reason] of [
    [['--sample', '0.1'], 'sampledOut'],
    [['--max-rate', '50'], 'rate'],
    [['--min-duration', '1s'], 'tooShort'],
    [['--entry-only'], 'entryOnly'],
  ] as const) {
    const { counted, tracer, result } = await burn([...args]);
    assert.equal(calls(result), counted, reason);
    assert.ok((result.lost[reason] ?? 0) > 0, `${reason}: ${JSON.stringify(result.lost)}`);
    assert.equal(tracer.spans.length + totalLost(result), counted, reason);
  }
});

test('calls without a context where roots are not wanted', async (t) => {
  if (!requireBpf(t)) return;
  await inFolder(async (folder) => {
    const file = join(folder, 'known.json');
    const tracer = Tracer.start([
      ...['--no-roots', 'main.mix', '--', await buildTarget('millions'), file, '100000'],
    ]);
    assert.equal(await tracer.ended(), 0, tracer.stderr);
    const known = JSON.parse(await readFile(file, 'utf8')) as Record<string, number>;
    const { functions, lost } = tracer.result;
    assert.equal(functions[0]?.calls, known['main.mix']);
    assert.equal(lost['rootless'], known['main.mix']);
    assert.equal(tracer.spans.length, 0);
  });
});
