/** Directories for what is kept, wherever somebody wants them. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeDirectory } from '../../src/make-directory.js';

test('those above it are made too, and that it is there is no error', () => {
  const folder = mkdtempSync(join(tmpdir(), 'directories-'));
  try {
    const path = join(folder, 'a/b/c');
    assert.equal(makeDirectory(path, 0o700), true);
    assert.equal(statSync(path).mode & 0o777, 0o700);
    assert.equal(makeDirectory(path), false);
    assert.equal(makeDirectory(folder), false);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('below a file, and below /proc, there are none', () => {
  assert.throws(() => makeDirectory(join(process.execPath, 'a')), { code: 'ENOTDIR' });
  const module = import.meta.resolve('../../src/native/boot-cache.js');
  const script = `
    import { BootCache } from '${module}';
    const boot = { id: '1', kernel: '6', cpu: '' };
    console.log(new BootCache('/proc/nowhere/a', boot).write('name', null, 1));`;
  const args = ['--input-type=module', '-e', script];
  const { stdout, signal } = spawnSync(process.execPath, args, { timeout: 20_000 });
  assert.equal(signal, null);
  assert.equal(stdout.toString(), 'false\n');
});
