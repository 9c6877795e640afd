/** Which modules go away with an executable whose bookkeeping is too dear, and come back with it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ProbedModule } from '../../src/session/probed-module.js';
import { Suspended } from '../../src/session/suspended.js';

const RULE = { id: 'rule' };

function moduleOf(
  exe: string,
  kind: 'main' | 'library' | 'kernel',
  pids: number[],
  { rule = RULE, all = false } = {},
): ProbedModule {
  const probed = {
    ...{ rule, exe, role: { kind }, pids: new Set(pids) },
    attachment: { isAttached: () => all },
  };
  return probed as unknown as ProbedModule;
}

const names = (modules: readonly ProbedModule[]): string[] => modules.map(({ exe }) => exe).sort();

function world() {
  const shop = moduleOf('shop', 'main', [1, 2], { all: true });
  const till = moduleOf('till', 'main', [3]);
  const libc = moduleOf('libc', 'library', [1, 2, 3]);
  const ssl = moduleOf('ssl', 'library', [1, 2]);
  const kernel = moduleOf('kernel', 'kernel', [1, 2, 3]);
  const other = moduleOf('shop of another rule', 'main', [1, 2], { rule: { id: 'other' } });
  const all = [shop, till, libc, ssl, kernel, other];
  return { shop, till, libc, ssl, kernel, all, suspended: new Suspended(() => all) };
}

const back = (returning: ReturnType<Suspended['end']>): Record<string, boolean> =>
  Object.fromEntries(returning.map(({ probed, all }) => [probed.exe, all]));

test('what other executables need stays, and of other rules and the kernel everything', () => {
  const { shop, till, libc, ssl, kernel, suspended } = world();
  assert.deepEqual(names(suspended.begin(shop)), ['shop', 'ssl']);
  assert.ok(suspended.has(shop, 1) && suspended.has(ssl, 1) && suspended.has(shop, null));
  assert.ok(
    suspended.has(libc, 1),
    'a library that is there is linked to no more of its processes',
  );
  assert.ok(!suspended.has(libc, 3) && !suspended.has(till, 3) && !suspended.has(kernel, 1));
  assert.deepEqual(back(suspended.end(shop)), { shop: true, ssl: false });
  assert.ok(!suspended.has(libc, 1));
});

test('a library goes with the last executable that needs it, and is back with the first', () => {
  const { shop, till, suspended } = world();
  suspended.begin(shop);
  assert.deepEqual(names(suspended.begin(till)), ['libc', 'till']);
  assert.deepEqual(back(suspended.end(shop)), { shop: true, ssl: false, libc: false });
  assert.ok(suspended.has(till, 3));
  assert.deepEqual(back(suspended.end(till)), { till: false });
});

test('what went comes back, whichever processes are left', () => {
  const { shop, ssl, suspended } = world();
  suspended.begin(shop);
  ssl.pids.clear();
  shop.pids.clear();
  assert.deepEqual(back(suspended.end(shop)), { shop: true, ssl: false });
});

test('a process of another executable needs a library that is away', () => {
  const { shop, till, libc, suspended } = world();
  suspended.begin(shop);
  suspended.begin(till);
  libc.pids.add(4);
  assert.ok(!suspended.has(libc, 4));
  assert.equal(suspended.release(libc), false);
  assert.equal(suspended.release(libc), null);
  assert.ok(suspended.has(libc, 3), 'but not for those that are away');
});

test('probes for all processes that are wanted meanwhile are there when it is back', () => {
  const { till, suspended } = world();
  suspended.begin(till);
  suspended.wantAll(till);
  assert.deepEqual(back(suspended.end(till)), { till: true });
});
