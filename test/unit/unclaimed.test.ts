import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UnderspanError } from '../../src/errors.js';
import { ASSUMED_COSTS } from '../../src/plan/host-costs.js';
import { KERNEL, MAIN, type ModuleRole } from '../../src/plan/module-role.js';
import type { PlanRequest } from '../../src/plan/plan-module.js';
import type { ModulePlan } from '../../src/plan/plan.js';
import { type ModuleWithPlan, refuseUnclaimed, unclaimed } from '../../src/plan/unclaimed.js';
import { parsePattern } from '../../src/symbols/patterns.js';

const request = (patterns: string[], args: string[], entryOnly = false): PlanRequest => ({
  patterns: patterns.map((text) => parsePattern(text)),
  handlers: [],
  excludes: [],
  costs: ASSUMED_COSTS,
  entryOnly,
  trampolines: 'never',
  waits: false,
  gc: false,
  allocations: false,
  values: { args, returns: false, errors: null, stack: false, redact: null },
  maxFunctions: 1,
  maxSites: 1,
});

const module = (role: ModuleRole, exe: string, claimed: string[]): ModuleWithPlan => ({
  role,
  exe,
  plan: { claimed: new Set(claimed) } as unknown as ModulePlan,
});
const shop = module(MAIN, '/bin/shop', ['order.ID']);
const kernel = module(KERNEL, 'the kernel', ['count']);
const tls = '/lib/libssl.so.3';

test('an argument is asked of whichever module has it', () => {
  const asked = request(['main.*', 'kernel:vfs_write'], ['order.ID', 'count', '*', 'gone.x']);
  assert.deepEqual(unclaimed(asked, [shop, kernel]), ['gone.x']);
  const both = request(['main.*', 'kernel:vfs_write'], ['order.ID', 'count', '*']);
  assert.deepEqual(unclaimed(both, [shop, kernel]), []);
  refuseUnclaimed(both, [shop, kernel]);
});

test('what nothing has is an error', () => {
  assert.throws(
    () => refuseUnclaimed(request(['main.*'], ['count']), [shop]),
    (error) =>
      error instanceof UnderspanError &&
      error.code === 'NO_ARGUMENT' &&
      /has an argument 'count'/.test(error.message),
  );
});

test('a library that is not there yet may have it', () => {
  const asked = request(['main.*', 'libssl.so:SSL_read'], ['order.ID', 'num']);
  assert.equal(unclaimed(asked, [shop]), null);
  refuseUnclaimed(asked, [shop]);
  const library = module({ kind: 'library', path: tls }, tls, []);
  assert.deepEqual(unclaimed(asked, [shop, library]), ['num']);
});

test('where returns alone are counted nothing is read, and nothing missed', () => {
  assert.deepEqual(unclaimed(request(['main.*'], ['count'], true), [shop]), []);
});
