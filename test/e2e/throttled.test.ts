/** A control group that has used up its share of the CPU, against what the kernel counts of it. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { inFolder } from '../tools/folder.js';
import { compileNative } from '../tools/native-targets.js';
import { need, requireBpf, requireCommands } from '../tools/require.js';
import { checkThrottled, makeGroup } from '../tools/throttled.js';

test('how long a call had no CPU since its group had used up its share', async (t) => {
  if (!requireBpf(t) || !requireCommands(t, ['gcc'])) return;
  const group = makeGroup();
  if (!need(t, group ? null : 'no control group can be given a share of the CPU')) return;
  assert.ok(group);
  await inFolder(async (folder) => {
    const binary = await compileNative('gcc', 'burn.c', join(folder, 'burn'), ['-O1']);
    t.diagnostic(await checkThrottled(binary, group, 0.1));
  });
});
