/** What is not attached again at once. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { BootCache } from '../../src/native/boot-cache.js';
import type { ModulePlan } from '../../src/plan/plan.js';
import { CrashWatch } from '../../src/session/crash-watch.js';
import { crashKey, Crashes } from '../../src/session/crashes.js';
import type { ProbedModule } from '../../src/session/probed-module.js';
import type { TraceRule } from '../../src/session/rule.js';
import type { ProcessRecord } from '../../src/spans/call.js';
import type { OpenFile } from '../../src/targets/open-file.js';
import { Procfs } from '../../src/targets/procfs.js';

const BOOT = { id: 'this', kernel: '6', cpu: 'x' };
const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
const WHAT = 'process 7 died of SIGSEGV 10 ms after 1 function of /bin/x was probed';

let folder: string;
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'underspan-crashes-'))));
afterEach(() => rmSync(folder, { recursive: true }));

let now = 0;
const crashes = (boot = BOOT): Crashes =>
  new Crashes(new BootCache(folder, boot), new Procfs(), () => now);

/** How long it is refused for from now on, in minutes. */
function refusedFor(each: Crashes): number {
  const begin = now;
  while (each.refusal('a')) now += MINUTE;
  const minutes = (now - begin) / MINUTE;
  now = begin;
  return minutes;
}

test('the wait doubles up to a day, and begins anew after a day of peace', () => {
  now = 0;
  const each = crashes();
  assert.equal(each.refusal('a'), null);
  const waits: number[] = [];
  for (let times = 0; times < 11; times++) {
    each.remember('a', WHAT);
    waits.push(refusedFor(each));
    now += (waits.at(-1) ?? 0) * MINUTE;
  }
  assert.deepEqual(waits, [5, 10, 20, 40, 80, 160, 320, 640, 1_280, 1_440, 1_440]);
  now += DAY;
  each.remember('a', WHAT);
  assert.equal(refusedFor(each), 5);
  assert.equal(each.refusal('b'), null);
});

test('several that die of the same probes are one crash', () => {
  now = 0;
  const each = crashes();
  for (let died = 0; died < 10; died++) each.remember('a', WHAT);
  assert.equal(refusedFor(each), 5);
});

test('the next tracer knows it, until the host boots or somebody decides otherwise', () => {
  now = 0;
  crashes().remember('a', WHAT);
  const refusal = crashes().refusal('a');
  assert.equal(refusal?.code, 'CRASHED_BEFORE');
  assert.match(refusal.message, /^process 7 died of SIGSEGV .* not probed again for 5 min$/);
  assert.equal(crashes({ ...BOOT, id: 'another' }).refusal('a'), null);
  const [, path = ''] = /: rm (\S+)$/.exec(refusal.hint ?? '') ?? [];
  rmSync(path);
  assert.equal(crashes().refusal('a'), null);
});

test('where nothing can be written, it is known as long as this tracer runs', () => {
  now = 0;
  const each = new Crashes(
    new BootCache(join(process.execPath, 'nowhere'), BOOT),
    new Procfs(),
    () => now,
  );
  each.remember('a', WHAT);
  assert.equal(refusedFor(each), 5);
});

test('a tracer that dies while it attaches leaves a mark; one that is asked to end does not', () => {
  now = 0;
  const script = (end: string): string => `
    import { BootCache } from '${import.meta.resolve('../../src/native/boot-cache.js')}';
    import { Crashes } from '${import.meta.resolve('../../src/session/crashes.js')}';
    const crashes = new Crashes(new BootCache(${JSON.stringify(folder)}, ${JSON.stringify(BOOT)}));
    await crashes.marked('a', 'a tracer was killed', async () => ${end});`;
  const run = (end: string): void => {
    spawnSync(process.execPath, ['--input-type=module', '-e', script(end)], { stdio: 'inherit' });
  };
  run('process.exit(1)');
  run('undefined');
  assert.deepEqual(readdirSync(folder), []);
  run("process.kill(process.pid, 'SIGKILL')");
  assert.equal(readdirSync(folder).length, 1);
  const next = crashes();
  assert.match(next.refusal('a')?.message ?? '', /^a tracer was killed: /);
  assert.deepEqual(readdirSync(folder), ['crash-a.json']);
});

test('the mark of one that still attaches is its own', async () => {
  now = 0;
  const each = crashes();
  await each.marked('a', WHAT, async () => {
    assert.equal(crashes().refusal('a'), null);
    assert.equal(readdirSync(folder).length, 1);
  });
  assert.deepEqual(readdirSync(folder), []);
  await assert.rejects(each.marked('a', WHAT, () => Promise.reject(new Error('no'))));
  assert.deepEqual(readdirSync(folder), []);
});

const RULE = { options: { emulateReturns: true, returnTrampoline: false } } as TraceRule;
const plan = (buildId: string | null, stamp: string, ...addresses: number[]): ModulePlan =>
  ({
    module: { facts: { buildId, stamp } },
    functions: addresses.map((address) => ({ entry: { address }, returns: [], trampoline: false })),
    support: [{ address: 1 }],
  }) as unknown as ModulePlan;

test('the same probes in the same file are told from others', () => {
  const key = (each: ModulePlan, exe = '/bin/x', rule = RULE): string | null =>
    crashKey(each, exe, rule);
  const known = key(plan('id', '1:2 100 3 4', 16, 32));
  // In another container.
  assert.equal(key(plan('id', '9:9 100 7 8', 16, 32), '/app/x'), known);
  assert.notEqual(key(plan('other', '1:2 100 3 4', 16, 32)), known);
  assert.notEqual(key(plan('id', '1:2 100 3 4', 16)), known);
  const options = { ...RULE.options, emulateReturns: false };
  assert.notEqual(key(plan('id', '1:2 100 3 4', 16, 32), '/bin/x', { ...RULE, options }), known);
  const without = key(plan(null, '1:2 100 3 4', 16));
  assert.equal(key(plan(null, '9:9 100 3 8', 16)), without);
  assert.notEqual(key(plan(null, '1:2 100 5 4', 16)), without);
  assert.equal(key(plan('id', '1:2 100 3 4')), null);
});

function probed(name: string, others: Partial<ProbedModule> = {}, kind = 'native'): ProbedModule {
  const attachment = { plan: { kind, functions: [{}] } };
  const each = { role: { kind: 'main' }, exe: name, crashKey: name, attachment, ...others };
  return each as unknown as ProbedModule;
}

test('probes are to blame that came in the last two seconds', () => {
  now = 0;
  const watch = new CrashWatch(crashes());
  const main = probed('a');
  const kernel = probed('b', { role: { kind: 'kernel' } });
  const inGo = probed('c', {}, 'go');
  const at = process.hrtime.bigint();
  const after = (ms: number): bigint => at + BigInt(ms * 1e6);
  const names = (blamed: ReturnType<CrashWatch['ended']>): string[] =>
    blamed.map(({ probed: { exe } }) => exe);
  const end = (pid: number, ms: number, exitCode: number): string[] => {
    for (const each of [main, kernel, inGo]) watch.linked(each, pid);
    return names(watch.ended({ pid, endNs: after(ms), exitCode }, []));
  };
  assert.deepEqual(end(1, 1_000, 9), []);
  assert.deepEqual(end(2, 1_000, 0), []);
  assert.deepEqual(end(2, 1_000, 1 << 8), []);
  assert.deepEqual(end(3, 5_000, 11), []);
  // With a core dumped.
  assert.deepEqual(end(4, 1_000, 128 + 11), ['a', 'c']);
  // As Go's runtime does.
  assert.deepEqual(end(5, 1_000, 2 << 8), ['c']);
  watch.linked(main, 6);
  watch.unlinked(main, 6);
  assert.deepEqual(watch.ended({ pid: 6, endNs: after(1), exitCode: 11 }, []), []);
});

test('so are those that were there before a process that ended at once', () => {
  now = 0;
  const watch = new CrashWatch(crashes());
  const file = { path: process.execPath, close: () => undefined } as unknown as OpenFile;
  const waiting = probed('a', { whole: true, file });
  const own = probed('b', { whole: false, file });
  const { ino, ctimeNs } = statSync(process.execPath, { bigint: true });
  const executed = { timeNs: 1_000_000n, inode: ino, changedNs: ctimeNs } as ProcessRecord;
  const end = { pid: 7, endNs: 6_000_000n, exitCode: 11 };
  const [blamed, ...others] = watch.ended(end, [waiting, own], executed);
  assert.deepEqual(others, []);
  assert.match(
    blamed?.error.message ?? '',
    /^process 7 died of SIGSEGV 5.00 ms after 1 function of a was probed: /,
  );
  const another = { ...executed, changedNs: 5n };
  assert.deepEqual(watch.ended(end, [waiting], another), []);
});
