/** Coroutines (iter.Pull), which go on and end past Go's scheduler. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { inFolder } from '../tools/folder.js';
import { buildVariant } from '../tools/go-builds.js';
import { obtained, requireBpf } from '../tools/require.js';
import { type JsonSpan, totalLost, Tracer } from '../tools/tracer.js';
import { mainReason, timesOf } from '../tools/waits.js';

const ROUNDS = 12;
const WAIT_NS = 3e6;

// The first that has them.
for (const release of ['1.23.4', '1.27.3']) {
  test(`Go ${release}`, async (t) => {
    if (!requireBpf(t)) return;
    const build = { name: 'default', flags: [] };
    const binary = await obtained(t, buildVariant('waits', release, build, 'go.mod'));
    if (binary === null) return;
    await inFolder(async (folder) => {
      const file = join(folder, 'counted.json');
      const command = [binary, 'coroutines', String(ROUNDS), file];
      const functions = ['main.puller', 'main.producer', 'main.successor'];
      const tracer = Tracer.start(['--waits', ...functions, '--', ...command]);
      assert.equal(await tracer.ended(), 0, tracer.stderr);
      assert.equal(totalLost(tracer.result), 0);
      const counted = JSON.parse(await readFile(file, 'utf8')) as Record<string, { nano: number }>;
      const of = (wanted: string): JsonSpan[] => tracer.spans.filter(({ name }) => name === wanted);

      await t.test('who asks a coroutine waits while it does', () => {
        const calls = of('main.puller');
        assert.equal(calls.length, ROUNDS);
        const times = timesOf(calls);
        assert.equal(mainReason(calls), 'other');
        const { other = 0 } = times;
        assert.ok(other >= 0.9 * ROUNDS * WAIT_NS, `${other} ns`);
        assert.ok(other <= (counted['main.puller']?.nano ?? 0), `${other} ns`);
      });
      await t.test('a coroutine waits until it is asked', () => {
        const [first] = of('main.producer').sort((a, b) => b.durationNano - a.durationNano);
        assert.ok(first);
        const { other = 0, sleep = 0 } = timesOf([first]);
        assert.ok(sleep >= ROUNDS * WAIT_NS, `${sleep} ns asleep`);
        assert.ok(other >= 0.9 * (ROUNDS - 1) * WAIT_NS, `${other} ns`);
      });
      await t.test('what becomes of its goroutine is another one', () => {
        const idsOf = (name: string): unknown[] =>
          of(name).map(({ attributes }) => attributes['underspan.goroutine.id']);
        const ended = new Set(idsOf('main.producer'));
        const begun = idsOf('main.successor');
        assert.equal(begun.length, ROUNDS);
        assert.equal(new Set(begun).size, ROUNDS);
        assert.deepEqual(
          begun.filter((id) => ended.has(id)),
          [],
        );
      });
    });
  });
}
