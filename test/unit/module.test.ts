import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { loadNative } from '../../src/native/load.js';
import type { NativeErrorCode } from '../../src/native/native.js';
import { functionNamed } from '../tools/modules.js';
import { missingCommands } from '../tools/require.js';

const native = loadNative();
const directory = mkdtempSync(join(tmpdir(), 'underspan-module-'));
after(() => {
  rmSync(directory, { recursive: true });
});

const file = (name: string): string => join(directory, name);
const run = (command: string, args: string[]): string =>
  execFileSync(command, args, { cwd: directory, encoding: 'utf8' });

async function fails(promise: Promise<unknown>, code: NativeErrorCode): Promise<void> {
  await assert.rejects(promise, (error: { code?: string }) => {
    assert.equal(error.code, code);
    return true;
  });
}

describe('what cannot be opened', () => {
  const write = (name: string, content: Buffer | string): string => {
    writeFileSync(file(name), content);
    return file(name);
  };
  const whole = readFileSync('/bin/true');
  const changed = (change: (copy: Buffer) => void): Buffer => {
    const copy = Buffer.from(whole);
    change(copy);
    return copy;
  };
  const cases: [string, NativeErrorCode, () => string][] = [
    ['no such file', 'ELF_UNREADABLE', () => file('nothing')],
    ['a directory', 'ELF_UNREADABLE', () => directory],
    ['a device', 'ELF_NOT_ELF', () => '/dev/null'],
    ['an empty file', 'ELF_NOT_ELF', () => write('empty', '')],
    ['a script', 'ELF_NOT_ELF', () => write('script', '#!/bin/sh\n')],
    ['only the magic', 'ELF_MALFORMED', () => write('magic', whole.subarray(0, 4))],
    ['half a header', 'ELF_MALFORMED', () => write('half', whole.subarray(0, 40))],
    ['only a header', 'ELF_MALFORMED', () => write('header', whole.subarray(0, 64))],
    ['cut off at half', 'ELF_MALFORMED', () => write('cut', whole.subarray(0, whole.length / 2))],
    [
      '32 bits',
      'ELF_UNSUPPORTED',
      () =>
        write(
          'bits',
          changed((copy) => (copy[4] = 1)),
        ),
    ],
    [
      'big-endian',
      'ELF_UNSUPPORTED',
      () =>
        write(
          'endian',
          changed((copy) => (copy[5] = 2)),
        ),
    ],
    [
      'arm64',
      'ELF_UNSUPPORTED',
      () =>
        write(
          'arm',
          changed((c) => c.writeUInt16LE(183, 18)),
        ),
    ],
    [
      'a core dump',
      'ELF_UNSUPPORTED',
      () =>
        write(
          'core',
          changed((c) => c.writeUInt16LE(4, 16)),
        ),
    ],
    [
      'an address beyond 2^53',
      'ELF_MALFORMED',
      () => {
        const at = 64 + 2 * 56 + 16;
        return write(
          'far',
          changed((copy) => copy.writeBigUInt64LE(1n << 60n, at)),
        );
      },
    ],
  ];
  for (const [what, code, path] of cases) {
    test(`${what}: ${code}`, async () => fails(native.openModule(path()), code));
  }

  test('the errno is in the error', async () => {
    await assert.rejects(native.openModule(file('nothing')), { errno: 2, message: /No such file/ });
  });

  test('wrong arguments are TypeErrors', async () => {
    assert.throws(() => native.openModule(7 as unknown as string), TypeError);
    const module = await native.openModule('/bin/true');
    const sizes = new Float64Array(2);
    assert.throws(() => module.instructions(new Float64Array(1), sizes), TypeError);
    assert.throws(() => module.lines(Float64Array.of(-1)), TypeError);
    assert.throws(() => module.lines(Float64Array.of(0.5)), TypeError);
    module.close();
  });
});

test('a closed module answers nothing more, but what was asked before', async () => {
  const module = await native.openModule('/proc/self/exe');
  const asked = module.functions();
  module.close();
  assert.ok((await asked).addresses.length > 0);
  await fails(module.functions(), 'CLOSED');
  await fails(module.inlined(), 'CLOSED');
  module.close();
});

test('the program of a process, by /proc/PID/exe', async () => {
  const module = await native.openModule(`/proc/${String(process.pid)}/exe`);
  assert.equal(module.facts.go, null);
  assert.ok(module.facts.segments.some(({ executable, writable }) => executable && !writable));
  module.close();
});

describe('a C program', { skip: missingCommands('gcc') }, () => {
  const source = [
    '#include <stdio.h>',
    'struct inner { int first; long second; };',
    'typedef struct { char name[8]; struct inner inner; } box;',
    'static inline __attribute__((always_inline)) int twice(int x) { return getchar() + x; }',
    'int apply(box *b, int x) { return twice(x) + (int)b->inner.second; }',
    'int main(int argc, char **argv) { box b = {{0}, {1, 2}}; puts(*argv); return apply(&b, 1); }',
  ].join('\n');
  before(() => {
    writeFileSync(file('box.c'), source);
    for (const version of [4, 5]) {
      run('gcc', [
        '-O1',
        '-fno-inline',
        `-gdwarf-${String(version)}`,
        '-o',
        `box${String(version)}`,
        'box.c',
      ]);
    }
    copyFileSync(file('box5'), file('box-stripped'));
    run('strip', ['box-stripped']);
  });

  for (const version of [4, 5]) {
    test(`DWARF ${String(version)}`, async () => {
      const module = await native.openModule(file(`box${String(version)}`));
      const { facts } = module;
      assert.equal(facts.path, file(`box${String(version)}`));
      assert.deepEqual(
        [facts.positionIndependent, facts.hasSymbols, facts.hasDwarf, facts.go],
        [true, true, true, null],
      );
      assert.match(facts.buildId ?? '', /^[0-9a-f]{40}$/);

      const apply = await functionNamed(module, 'apply');
      const nm = run('nm', ['-S', `box${String(version)}`]);
      const [, address, size] = / *([0-9a-f]+) ([0-9a-f]+) T apply$/m.exec(nm) ?? [];
      assert.equal(apply.address, parseInt(address ?? '', 16));
      assert.equal(apply.size, parseInt(size ?? '', 16));

      const offsets = await module.fieldOffsets([
        { type: 'box', field: 'inner' },
        { type: 'box', field: 'inner.second' },
        { type: 'inner', field: 'second' },
        { type: 'inner', field: 'third' },
        { type: 'crate', field: 'name' },
      ]);
      assert.deepEqual(offsets, [8, 16, 8, null, null]);
      assert.deepEqual(await module.inlined(), [
        { name: 'twice', into: ['apply'], hasCode: false },
      ]);
      const [at, nowhere] = await module.lines(Float64Array.of(apply.address, 1));
      assert.equal(at?.line, 5);
      assert.equal(at?.file, file('box.c'));
      assert.equal(nowhere, null);
      const [parameters, none] = await module.parameters(Float64Array.of(apply.address, 1));
      assert.deepEqual(
        parameters?.map(({ name, type, registers, stackOffset }) => [
          name,
          type,
          registers,
          stackOffset,
        ]),
        [
          ['b', '*box', [], null],
          ['x', 'int', [], null],
        ],
      );
      assert.equal(none, null);
      module.close();
    });
  }

  test('stripped, only what the dynamic loader needs is left', async () => {
    const module = await native.openModule(file('box-stripped'));
    assert.equal(module.facts.hasSymbols, false);
    assert.equal(module.facts.hasDwarf, false);
    assert.equal((await module.functions()).source, 'dynsym');
    assert.deepEqual(await module.inlined(), []);
    assert.deepEqual(await module.parameters(Float64Array.of(4096)), [null]);
    module.close();
  });
});
