import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';

import { missingCommands, obtained, requireCommands } from '../tools/require.js';

const MISSING = 'no-such-compiler';
const VARIABLES = ['CI', 'UNDERSPAN_REQUIRE_BPF'];

class Skips {
  readonly reasons: (string | undefined)[] = [];

  skip(reason?: string): void {
    this.reasons.push(reason);
  }
}

describe('what a test needs', () => {
  const before = VARIABLES.map((name) => [name, process.env[name]] as const);
  beforeEach(() => {
    for (const name of VARIABLES) Reflect.deleteProperty(process.env, name);
  });
  afterEach(() => {
    for (const [name, value] of before) {
      if (value === undefined) Reflect.deleteProperty(process.env, name);
      else process.env[name] = value;
    }
  });

  test('is skipped where it is missing', async () => {
    const t = new Skips();
    assert.equal(requireCommands(t, ['sh', MISSING]), false);
    assert.equal(await obtained(t, Promise.reject(new Error('no network'))), null);
    assert.deepEqual(t.reasons, [
      `${MISSING} not installed`,
      'it cannot be had: Error: no network',
    ]);
    assert.equal(missingCommands('sh', MISSING), `${MISSING} not installed`);
  });

  for (const name of VARIABLES) {
    test(`fails where it is missing and ${name} is set`, async () => {
      process.env[name] = 'true';
      const t = new Skips();
      const required = /required here and cannot run/;
      assert.throws(() => requireCommands(t, [MISSING]), required);
      assert.throws(() => missingCommands(MISSING), required);
      await assert.rejects(obtained(t, Promise.reject(new Error('no network'))), required);
      assert.deepEqual(t.reasons, []);
    });
  }

  test('is there', async () => {
    process.env['CI'] = 'true';
    const t = new Skips();
    assert.equal(requireCommands(t, ['sh']), true);
    assert.equal(missingCommands('sh'), false);
    assert.equal(await obtained(t, Promise.resolve('folder')), 'folder');
    assert.deepEqual(t.reasons, []);
  });
});
