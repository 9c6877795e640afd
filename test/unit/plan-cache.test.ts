import assert from 'node:assert/strict';
import {
  mkdtempSync,
  rmSync,
  appendFileSync,
  chmodSync,
  chownSync,
  readdirSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';

import { BootCache } from '../../src/native/boot-cache.js';
import { FEATURES, knownFeatures } from '../../src/native/features.js';
import type { Features, Module, Native } from '../../src/native/native.js';
import { planOnce } from '../../src/plan/plan-cache.js';
import { ASSUMED_COSTS } from '../../src/plan/host-costs.js';
import type { PlanRequest } from '../../src/plan/plan-module.js';
import type { ModulePlan } from '../../src/plan/plan.js';
import { parsePattern } from '../../src/symbols/patterns.js';

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'underspan-test-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

const moduleOf = (stamp: string, go = true): Module =>
  ({
    facts: { stamp, go: go ? { version: 'go1.26.8', mainModule: null, modules: {} } : null },
  }) as unknown as Module;

const requestOf = (...patterns: string[]): PlanRequest => ({
  patterns: patterns.map((text) => parsePattern(text)),
  handlers: [],
  excludes: [],
  entryOnly: false,
  trampolines: 'never',
  waits: false,
  gc: false,
  allocations: false,
  values: { args: [], returns: false, stack: false, redact: [], errors: null },
  costs: ASSUMED_COSTS,
  maxFunctions: 10,
  maxSites: 10,
});

const planOf = (module: Module): ModulePlan =>
  ({
    kind: 'go',
    module,
    layout: { version: 'go1.26.8' },
    functions: [
      { name: 'main.f', values: { error: { kind: 1, value: 2n ** 63n } } },
      { name: 'main.g', values: { error: null } },
    ],
    refused: [{ name: 'main.h', reason: 'is assembly' }],
    support: [],
    notices: [],
    claimed: new Set(['order.ID']),
  }) as unknown as ModulePlan;

class Planner {
  made = 0;
  readonly directory: string;

  constructor(t: TestContext) {
    this.directory = temporaryFolder(t);
  }

  plan(
    module: Module,
    request: PlanRequest,
    { boot = '1', worthMs = 0 } = {},
  ): Promise<ModulePlan> {
    const cache = new BootCache(this.directory, { id: boot, kernel: '6', cpu: '' });
    const plan = async (): Promise<ModulePlan> => {
      this.made++;
      return planOf(module);
    };
    return planOnce(module, '/bin/program', request, plan, cache, worthMs);
  }

  get files(): string[] {
    return readdirSync(this.directory).map((name) => join(this.directory, name));
  }
}

test('a plan is made once for the same file and request', async (t) => {
  const planner = new Planner(t);
  const first = await planner.plan(moduleOf('a'), requestOf('main.*'));
  const module = moduleOf('a');
  const again = await planner.plan(module, requestOf('main.*'));
  assert.equal(planner.made, 1);
  assert.equal(again.module, module, 'the module is the one that is open now');
  assert.deepEqual({ ...again, module: null }, { ...first, module: null });
  assert.equal(again.functions[0]?.values.error?.value, 2n ** 63n);
});

test('another file, request or boot is planned anew', async (t) => {
  const planner = new Planner(t);
  await planner.plan(moduleOf('a'), requestOf('main.*'));
  await planner.plan(moduleOf('b'), requestOf('main.*'));
  await planner.plan(moduleOf('a'), requestOf('main.f'));
  await planner.plan(moduleOf('a'), { ...requestOf('main.*'), entryOnly: true });
  await planner.plan(moduleOf('a'), { ...requestOf('main.*'), excludes: [parsePattern('main.g')] });
  await planner.plan(moduleOf('a'), requestOf('main.*'), { boot: '2' });
  assert.equal(planner.made, 6);
});

test('what is planned at once, and native code, is not kept', async (t) => {
  const planner = new Planner(t);
  await planner.plan(moduleOf('a'), requestOf('main.*'), { worthMs: Infinity });
  await planner.plan(moduleOf('a', false), requestOf('main.*'));
  assert.deepEqual(planner.files, []);
});

test('a plan that is broken, or that others could have written, is not believed', async (t) => {
  const planner = new Planner(t);
  const plan = (): Promise<ModulePlan> => planner.plan(moduleOf('a'), requestOf('main.*'));
  await plan();
  const [file = ''] = planner.files;
  assert.equal(statSync(file).mode & 0o777, 0o600);
  writeFileSync(file, '{"of":');
  await plan();
  assert.equal(planner.made, 2, 'broken');
  await plan();
  assert.equal(planner.made, 2, 'and then written anew');
  chmodSync(file, 0o666);
  await plan();
  assert.equal(planner.made, 3, 'writable');
  appendFileSync(file, ' '.repeat(5 << 20));
  await plan();
  assert.equal(planner.made, 4, 'too large');
  if (process.geteuid?.() !== 0) return;
  chownSync(file, 1, 1);
  await plan();
  assert.equal(planner.made, 5, "another user's");
});

test('only the plans that were made last are kept', async (t) => {
  const planner = new Planner(t);
  for (let i = 0; i < 20; i++) await planner.plan(moduleOf(String(i)), requestOf('main.*'));
  assert.equal(planner.files.length, 8);
});

test("the kernel's features are tried once, and again where they are not all known", async (t) => {
  const directory = temporaryFolder(t);
  const cache = new BootCache(directory, { id: '1', kernel: '6', cpu: '' });
  let tried = 0;
  const missing = { btf: true } as Features;
  let answer: Features = missing;
  const native = {
    features: async () => {
      tried++;
      return answer;
    },
  } as Native;
  await knownFeatures(native, cache);
  answer = Object.fromEntries(Object.keys(FEATURES).map((key) => [key, true])) as never;
  assert.deepEqual(await knownFeatures(native, cache), answer);
  assert.deepEqual(await knownFeatures(native, cache), answer);
  assert.equal(tried, 2);
});
