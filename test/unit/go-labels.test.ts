import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadNative } from '../../src/native/load.js';
import { planGo } from '../../src/plan/go-plan.js';
import { buildTarget, goCommand } from '../tools/go.js';
import { missingCommands } from '../tools/require.js';

async function labelsOffset(target: string): Promise<number | undefined> {
  const flags = ['-ldflags=-s -w'];
  const module = await loadNative().openModule(await buildTarget(target, { flags }));
  const request = {
    ...{ entryOnly: false, values: null, waits: false, gc: false, allocations: false },
    routeOf: () => null,
  };
  const { layout } = await planGo(module, await module.functions(), [], request);
  module.close();
  return layout?.labelsOffset;
}

test(
  'goroutines have labels only where the program can set them',
  { skip: missingCommands(goCommand()) },
  async () => {
    assert.ok(await labelsOffset('labels'));
    assert.equal(await labelsOffset('ends'), 0);
  },
);
