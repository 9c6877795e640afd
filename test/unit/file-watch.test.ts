import assert from 'node:assert/strict';
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { FileWatch } from '../../src/agent/file-watch.js';
import { until } from '../tools/agent.js';
import { inFolder } from '../tools/folder.js';

test('a file that is away, or cannot be looked at, is no change; one that comes is', async () => {
  await inFolder(async (folder) => {
    const file = join(folder, 'sub', 'agent.yaml');
    mkdirSync(join(folder, 'sub'));
    writeFileSync(file, 'rules: []\n');
    let changes = 0;
    const watch = new FileWatch(file, () => changes++);
    watch.start();
    try {
      // A link to itself: ELOOP.
      renameSync(join(folder, 'sub'), join(folder, 'aside'));
      symlinkSync('sub', join(folder, 'sub'));
      await new Promise((resolve) => setTimeout(resolve, 1_200));
      assert.equal(changes, 0);
      rmSync(join(folder, 'sub'));
      renameSync(join(folder, 'aside'), join(folder, 'sub'));
      writeFileSync(file, 'rules: [] # others\n');
      await until('seen', () => (changes > 0 ? true : null));
      assert.equal(changes, 1);
    } finally {
      watch.close();
    }
  });
});
