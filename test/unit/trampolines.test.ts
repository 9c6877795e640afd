import assert from 'node:assert/strict';
import { mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { BpfMap } from '../../src/native/native.js';
import { takesTrampoline, type TrampolineChoice } from '../../src/plan/trampolines.js';
import { Trampolines } from '../../src/session/trampolines.js';
import { TrampolineVerdict } from '../../src/spans/records.generated.js';
import { Procfs } from '../../src/targets/procfs.js';
import { Unwinders } from '../../src/targets/unwinders.js';
import { inFolder } from '../tools/folder.js';

const JUMPS: TrampolineChoice = { name: 'f', entryOnly: 'it jumps', single: false };
const PLAIN: TrampolineChoice = { ...JUMPS, entryOnly: null };

test('trampolines are for functions whose ends cannot be probed, or for all', () => {
  assert.ok(takesTrampoline('needed', JUMPS));
  assert.ok(!takesTrampoline('needed', PLAIN));
  assert.ok(takesTrampoline('always', PLAIN));
  assert.ok(!takesTrampoline('never', JUMPS));
});

test('never for functions that need their return address', () => {
  assert.ok(!takesTrampoline('always', { ...PLAIN, single: true }));
  for (const name of [
    ...['setjmp', '_setjmp', '__sigsetjmp', 'getcontext', 'swapcontext', 'vfork', '__vfork'],
    ...['dlsym', 'dlopen', '_Unwind_Backtrace', 'clone', '__clone3'],
  ]) {
    assert.ok(!takesTrampoline('always', { ...JUMPS, name }), name);
  }
  assert.ok(takesTrampoline('always', { ...JUMPS, name: 'my_setjmp_count' }));
});

/** The map `trampolines`, with one process in it. */
class Verdicts {
  verdict: number | null = null;
  lookup = (): Buffer | null => (this.verdict === null ? null : Buffer.of(this.verdict, 0, 0, 0));
  update = (_: Buffer, value: Buffer): void => void (this.verdict = value.readUInt32LE());
  replace = (key: Buffer, value: Buffer): boolean => {
    if (this.verdict === null) return false;
    this.update(key, value);
    return true;
  };
  delete = (): void => void (this.verdict = null);
}

test('a verdict holds for the libraries that it was made on', async () => {
  const map = new Verdicts();
  let unwinds = false;
  let meanwhile = (): void => undefined;
  const asked: number[] = [];
  const trampolines = new Trampolines(map as unknown as BpfMap, {
    in: (pid) => {
      asked.push(pid);
      assert.equal(map.verdict, TrampolineVerdict.ASKED);
      meanwhile();
      return Promise.resolve(unwinds);
    },
  });
  await trampolines.judge(7);
  assert.equal(map.verdict, TrampolineVerdict.ALLOWED);
  await trampolines.judge(7);
  assert.deepEqual(asked, [7], 'nothing has changed');
  // As the kernel side does when the dynamic linker has been at work.
  map.delete();
  meanwhile = map.delete;
  await trampolines.judge(7);
  assert.equal(map.verdict, null);
  meanwhile = (): void => undefined;
  unwinds = true;
  await trampolines.judge(7);
  assert.equal(map.verdict, null);
});

test('what a process has mapped is asked file by file, and once', async () => {
  await inFolder(async (folder) => {
    mkdirSync(join(folder, '9/root'), { recursive: true });
    const inodes = ['program', 'library'].map((name) => {
      writeFileSync(join(folder, '9/root', name), name);
      return statSync(join(folder, '9/root', name)).ino;
    });
    const maps = (lines: string[]): void => writeFileSync(join(folder, '9/maps'), lines.join('\n'));
    const line = (path: string, inode = 0, rights = 'r-xp'): string =>
      `1000-2000 ${rights} 00000000 00:01 ${inode}    ${path}`;
    const asked: string[] = [];
    const unwinders = new Unwinders(
      {
        mayUnwind: (path) => {
          asked.push(path.slice(path.lastIndexOf('/') + 1));
          return path.endsWith('broken') ? Promise.reject(new Error()) : Promise.resolve(false);
        },
      },
      new Procfs(folder),
    );
    const [program = 0, library = 0] = inodes;
    maps([line('/program', program), line('/library', library), line('/data', 5, 'r--p')]);
    assert.equal(await unwinders.in(9), false);
    assert.equal(await unwinders.in(9), false);
    assert.deepEqual(asked, ['program', 'library']);
    maps([line('/program', program), line('[vdso]'), line('')]);
    assert.equal(await unwinders.in(9), false);
    maps([line('/program', program), line('/library (deleted)', library)]);
    assert.equal(await unwinders.in(9), true);
    maps([line('/program', library)]);
    assert.equal(await unwinders.in(9), true, 'another file has its name now');
    assert.equal(await unwinders.in(10), true, 'it has ended');
  });
});
