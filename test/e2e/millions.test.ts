/**
 * Millions of calls from eight goroutines, on stacks that move all the time: every call is a span or
 * a counted loss, and the program is none the worse. UNDERSPAN_CALLS is how many.
 */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { inFolder } from '../tools/folder.js';
import { buildTarget } from '../tools/go.js';
import { requireBpf } from '../tools/require.js';
import { trace } from '../tools/tracer.js';
import type { Summary } from '../../src/sinks/sink.js';

const CALLS = Number(process.env['UNDERSPAN_CALLS'] ?? 300_000);
/** Frames that a recovered panic unwinds: those of main.fall. */
const UNWOUND = 3;

for (const [what, panics] of [
  ['stacks that move', 0],
  ['a panic in one call of ten', 10],
] as const) {
  test(`${CALLS.toLocaleString('en')} calls: ${what}`, async (t) => {
    if (!requireBpf(t)) return;
    await inFolder(async (folder) => {
      const file = join(folder, 'known.json');
      const binary = await buildTarget('millions');
      const began = Date.now();
      const { status, stdout, stderr } = await trace(
        [
          ...['attach', '--output', 'json', '--max-rate', '200', '--ring-size', '64M'],
          ...['--max-overhead', '100%'],
          ...['/^main\\.(mix|descend|guard|fall)$/', '--', binary, file],
          ...[String(CALLS), String(panics)],
        ],
        {
          env: { GODEBUG: 'gcshrinkstackoff=0,asyncpreemptoff=0', GOGC: '5' },
          timeoutMs: 1_800_000,
        },
      );
      assert.equal(status, 0, stderr);
      const known = JSON.parse(await readFile(file, 'utf8')) as Record<string, number>;
      const lines = stdout.trimEnd().split('\n');
      const result = JSON.parse(lines.at(-1) ?? '') as Summary;
      const spans = lines.filter((line) => line.startsWith('{"type":"span"')).length;
      const calls = Object.fromEntries(result.functions.map(({ name, calls }) => [name, calls]));
      assert.deepEqual(calls, known);
      const total = Object.values(calls).reduce((sum, count) => sum + count, 0);
      const lost = Object.values(result.lost).reduce((sum, count) => sum + count, 0);
      assert.equal(spans + lost, total, JSON.stringify(result.lost));
      assert.ok(total >= CALLS);
      const errors = result.functions.find(({ name }) => name === 'main.fall')?.errors ?? 0;
      const unwound = panics > 0 ? Math.ceil((known['main.guard'] ?? 0) / panics) * UNWOUND : 0;
      // Each goroutine counts from 0, so that each may have one more.
      assert.ok(Math.abs(errors - unwound) <= 8 * UNWOUND, `${errors} errors, ${unwound} unwound`);
      assert.equal(result.lost['unpaired'], 0);
      t.diagnostic(
        `${total} calls, ${spans} spans, ${lost} lost, ${errors} unwound; ${(Date.now() - began) / 1000} s`,
      );
    });
  });
}
