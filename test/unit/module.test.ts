import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { loadNative } from '../../src/native/load.js';
import {
  type FunctionTable,
  INSTRUCTION_SIZE,
  InstructionFlag,
  InstructionKind,
  type Module,
  type NativeErrorCode,
  type Parameter,
} from '../../src/native/native.js';
import { goCommand } from '../tools/go.js';

const native = loadNative();
const directory = mkdtempSync(join(tmpdir(), 'underspan-module-'));
after(() => {
  rmSync(directory, { recursive: true });
});

const file = (name: string): string => join(directory, name);
const run = (command: string, args: string[], cwd = directory): string =>
  execFileSync(command, args, { cwd, encoding: 'utf8', env: { ...process.env, CGO_ENABLED: '0' } });
const has = (command: string): boolean => spawnSync(command, ['--help']).error === undefined;

async function fails(promise: Promise<unknown>, code: NativeErrorCode): Promise<void> {
  await assert.rejects(promise, (error: { code?: string }) => {
    assert.equal(error.code, code);
    return true;
  });
}

interface Row {
  name: string;
  address: number;
  size: number;
}

function rows({ names, addresses, sizes }: FunctionTable): Row[] {
  return names.split('\n').map((name, i) => ({
    name,
    address: addresses[i] ?? NaN,
    size: sizes[i] ?? NaN,
  }));
}

async function functionNamed(module: Module, name: string): Promise<Row> {
  const found = rows(await module.functions()).find((row) => row.name === name);
  assert.ok(found, `${name} is missing`);
  return found;
}

interface Decoded {
  function: number;
  offset: number;
  length: number;
  kind: number;
  flags: number;
  target: number;
}

function decode(records: Buffer): Decoded[] {
  const decoded: Decoded[] = [];
  for (let at = 0; at < records.length; at += INSTRUCTION_SIZE) {
    decoded.push({
      function: records.readUInt32LE(at),
      offset: records.readUInt32LE(at + 4),
      length: records.readUInt8(at + 8),
      kind: records.readUInt8(at + 9),
      flags: records.readUInt8(at + 10),
      target: records.readDoubleLE(at + 16),
    });
  }
  return decoded;
}

const instructionsOf = async (module: Module, { address, size }: Row): Promise<Decoded[]> =>
  decode(await module.instructions(Float64Array.of(address), Float64Array.of(size)));

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

describe('a C program', { skip: has('gcc') ? false : 'gcc is missing' }, () => {
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
      assert.deepEqual(await module.inlined(), [{ name: 'twice', into: ['apply'] }]);
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

describe('instructions', { skip: has('gcc') ? false : 'gcc is missing' }, () => {
  const K = InstructionKind;
  const F = InstructionFlag;
  /** Assembly, kind, flags. Each is followed by the label that branches lead to. */
  const cases: [string, number, number][] = [
    ['push %rbp', K.PUSH, F.FRAME_PUSH | F.EMULATED],
    ['push %r14', K.PUSH, F.EMULATED],
    ['push %rsp', K.PUSH, F.EMULATED | F.TOUCHES_STACK_POINTER],
    ['.byte 0x48, 0x55', K.PUSH, F.FRAME_PUSH], // REX.W: the kernel steps it
    ['.byte 0xff, 0xf5', K.PUSH, F.FRAME_PUSH],
    ['push $1', K.OTHER, 0],
    ['push 8(%rsp)', K.OTHER, F.TOUCHES_STACK_POINTER],
    ['pop %rbp', K.OTHER, F.TOUCHES_STACK_POINTER],
    ['pop %r14', K.OTHER, F.TOUCHES_STACK_POINTER | F.WRITES_R14],
    ['leave', K.OTHER, F.TOUCHES_STACK_POINTER],
    ['sub $8, %rsp', K.OTHER, F.TOUCHES_STACK_POINTER],
    ['mov 8(%rsp), %rax', K.OTHER, F.TOUCHES_STACK_POINTER],
    ['nop', K.NOP, F.EMULATED],
    ['.byte 0x66, 0x90', K.OTHER, F.EMULATED],
    ['pause', K.OTHER, F.EMULATED],
    ['.byte 0x49, 0x90', K.OTHER, 0], // xchg %rax, %r8, which the kernel would take for a nop
    ['nopl 0(%rax, %rax)', K.OTHER, 0],
    ['endbr64', K.ENDBR, 0],
    ['cmp 0x10(%r14), %rsp', K.STACK_CHECK, F.TOUCHES_STACK_POINTER],
    ['cmp 0x18(%r14), %rsp', K.STACK_CHECK, F.TOUCHES_STACK_POINTER],
    ['cmp 0x10(%r14), %r12', K.STACK_CHECK, 0],
    ['cmp 0x20(%r14), %rsp', K.OTHER, F.TOUCHES_STACK_POINTER],
    ['cmp 0x10(%r13), %rsp', K.OTHER, F.TOUCHES_STACK_POINTER],
    ['jbe 1f', K.CONDITIONAL, F.BELOW_EQUAL | F.EMULATED],
    ['jbe.d32 1f', K.CONDITIONAL, F.BELOW_EQUAL | F.EMULATED],
    ['ja 1f', K.CONDITIONAL, F.EMULATED],
    ['jrcxz 1f', K.CONDITIONAL, 0],
    ['loop 1f', K.CONDITIONAL, 0],
    ['.byte 0x2e; ja 1f', K.CONDITIONAL, 0], // a prefix with which the kernel takes no probe
    ['jmp 1f', K.JUMP, F.EMULATED],
    ['jmp.d32 1f', K.JUMP, F.EMULATED],
    ['bnd jmp 1f', K.JUMP, F.EMULATED],
    ['jmp *%rax', K.INDIRECT_JUMP, 0],
    ['jmp *8(%rsp)', K.INDIRECT_JUMP, F.TOUCHES_STACK_POINTER],
    ['call 1f', K.CALL, F.EMULATED],
    ['call *%rax', K.INDIRECT_CALL, 0],
    ['ret', K.RETURN, 0],
    ['ret $8', K.RETURN, 0],
    ['rep ret', K.RETURN, 0],
    ['ud2', K.TRAP, 0],
    ['int3', K.TRAP, 0],
    ['int $0x80', K.TRAP, 0],
    ['hlt', K.TRAP, 0],
    ['mov %fs:-8, %r14', K.OTHER, F.WRITES_R14],
    ['xor %r14d, %r14d', K.OTHER, F.WRITES_R14],
    ['mov %r14, %rax', K.OTHER, 0],
  ];
  const bad = ['lretq', 'iretq', '.byte 0x06', '.byte 0xe8, 0, 0', '.byte 0x0f, 0x0b; .byte 0x48'];
  const asFunction = (name: string, body: string): string =>
    [
      `.globl ${name}`,
      `.type ${name}, @function`,
      `${name}:`,
      body,
      `.size ${name}, . - ${name}`,
    ].join('\n');
  let module: Module;
  before(async () => {
    const functions = [
      ...cases.map(([code], i) => asFunction(`case${String(i)}`, `${code}\n1: nop`)),
      ...bad.map((code, i) => asFunction(`bad${String(i)}`, `nop\n${code}`)),
      asFunction('empty', ''),
      asFunction('long', `${'xor %eax, %eax\n'.repeat(40)}ret`),
    ];
    writeFileSync(file('code.s'), `.text\n${functions.join('\n')}\n`);
    run('gcc', ['-shared', '-nostdlib', '-o', 'code.so', 'code.s']);
    module = await native.openModule(file('code.so'));
  });
  after(() => {
    module.close();
  });

  test('kinds, flags and targets', async () => {
    for (const [i, [code, kind, flags]] of cases.entries()) {
      const row = await functionNamed(module, `case${String(i)}`);
      const [first, last, ...rest] = await instructionsOf(module, row);
      assert.deepEqual([first?.kind, first?.flags], [kind, flags], code);
      assert.deepEqual([last?.kind, rest.length], [K.NOP, 0], code);
      assert.equal(first?.length, last?.offset, code);
      const target = /\b1f$/.test(code) ? row.address + (last?.offset ?? NaN) : NaN;
      assert.equal(first?.target, target, code);
    }
  });

  test('what does not decode to its end has one record', async () => {
    for (const [i, code] of bad.entries()) {
      const decoded = await instructionsOf(module, await functionNamed(module, `bad${String(i)}`));
      const offset = code.startsWith('.byte 0x0f, 0x0b') ? 3 : 1;
      assert.deepEqual(
        decoded.map((record) => [record.kind, record.offset]),
        [[K.UNDECODABLE, offset]],
        code,
      );
    }
    const outside = { name: 'outside', address: 1, size: 16 };
    assert.equal((await instructionsOf(module, outside))[0]?.kind, K.UNDECODABLE);
    const empty = await functionNamed(module, 'empty');
    assert.equal((await instructionsOf(module, empty))[0]?.kind, K.UNDECODABLE);
  });

  test('after the prologue only what matters', async () => {
    const long = await functionNamed(module, 'long');
    const decoded = await instructionsOf(module, long);
    assert.deepEqual(
      decoded.map(({ kind }) => kind),
      [...Array<number>(24).fill(K.OTHER), K.RETURN],
    );
    assert.equal(decoded.at(-1)?.offset, 80);
  });
});

describe('a Go program', { skip: has(goCommand()) ? false : 'Go is missing' }, () => {
  const source = `package main

import (
	"context"
	"errors"
	"net/url"
	"os"
)

type small struct {
	one [1]string
	_   int32
	y   float32
}
type empty struct{}
type box struct {
	name  string
	inner struct{ first, second int }
}

//go:noinline
func plain(ctx context.Context, r *url.URL, s string, xs []int) (int, error) {
	return len(s) + len(xs), ctx.Err()
}

//go:noinline
func blank(_ int, ctx context.Context, _ float64) error { return ctx.Err() }

//go:noinline
func (*box) method(ctx context.Context) error { return ctx.Err() }

//go:noinline
func mixed(a small, b [2]int, c complex128, z empty, d uint8, f func(int) int) (small, int) {
	return a, f(int(d)) + b[1]
}

//go:noinline
func many(a, b, c, d, e, f, g, h int, ctx context.Context, k int) error { return ctx.Err() }

//go:noinline
func generic[K comparable](ctx context.Context, k K) (K, error) { return k, ctx.Err() }

// Inlined where it is called, and has code because its value is taken.
func both(_ int, ctx context.Context) error { return ctx.Err() }
func inlined(b *box) int { return b.inner.second + len(os.Args) }

func main() {
	ctx := context.WithValue(context.Background(), box{}, 1)
	f := both
	if len(os.Args) > 1 { f = nil }
	_, err := plain(ctx, &url.URL{}, "a", nil)
	_, a := mixed(small{}, [2]int{}, 1, empty{}, 1, func(a int) int { return a + len(os.Args) })
	_, err2 := generic(ctx, a)
	_, err3 := generic(ctx, "a")
	err = errors.Join(err, err2, err3, blank(1, ctx, 2), (&box{}).method(ctx), f(1, ctx), both(2, ctx))
	err = errors.Join(err, many(1, 2, 3, 4, 5, 6, 7, 8, ctx, a + inlined(&box{})))
	if err != nil { panic(err) }
}
`;
  const goFile = (name: string): string => join(directory, 'boxes', name);
  const builds: Record<string, string[]> = {
    plain: [],
    pie: ['-buildmode=pie'],
    dwarf4: ['-ldflags=-compressdwarf=false'],
    'stripped-plain': ['-ldflags=-s -w'],
    'stripped-pie': ['-buildmode=pie', '-ldflags=-s -w'],
  };
  before(() => {
    mkdirSync(join(directory, 'boxes'));
    writeFileSync(goFile('go.mod'), 'module example.com/boxes\ngo 1.21\n');
    writeFileSync(goFile('main.go'), source);
    for (const [name, flags] of Object.entries(builds)) {
      const experiment = name === 'dwarf4' ? { GOEXPERIMENT: 'nodwarf5' } : {};
      execFileSync(goCommand(), ['build', '-buildvcs=false', ...flags, '-o', name, '.'], {
        cwd: join(directory, 'boxes'),
        env: { ...process.env, CGO_ENABLED: '0', ...experiment },
      });
    }
    // As some packers leave it: no section headers at all.
    for (const name of ['plain', 'pie']) {
      const content = readFileSync(goFile(name));
      content.fill(0, 40, 48).fill(0, 60, 64);
      writeFileSync(goFile(`headless-${name}`), content);
    }
  });

  const place = ({ type, result, registers, stackOffset }: Parameter): unknown[] =>
    result ? [type, 'result', registers] : [type, stackOffset ?? registers];
  const expected: Record<string, unknown[][]> = {
    'main.plain': [
      ['context.Context', [0, 1]],
      ['*net/url.URL', [2]],
      ['string', [3, 4]],
      ['[]int', [5, 6, 7]],
      ['int', 'result', [0]],
      ['error', 'result', [1, 2]],
    ],
    'main.blank': [
      ['int', [0]],
      ['context.Context', [1, 2]],
      ['float64', [100]],
      ['error', 'result', [0, 1]],
    ],
    'main.(*box).method': [
      ['*main.box', [0]],
      ['context.Context', [1, 2]],
      ['error', 'result', [0, 1]],
    ],
    'main.mixed': [
      ['main.small', [0, 1, 2, 100]],
      ['[2]int', 0],
      ['complex128', [101, 102]],
      ['main.empty', 16],
      ['uint8', [3]],
      ['func(int) int', [4]],
      ['main.small', 'result', [0, 1, 2, 100]],
      ['int', 'result', [3]],
    ],
    'main.many': [
      ...Array.from({ length: 8 }, (_, i) => ['int', [i]]),
      ['context.Context', 0],
      ['int', [8]],
      ['error', 'result', [0, 1]],
    ],
    // The dictionary comes first.
    'main.generic[go.shape.string]': [
      ['context.Context', [1, 2]],
      ['go.shape.string', [3, 4]],
      ['go.shape.string', 'result', [0, 1]],
      ['error', 'result', [2, 3]],
    ],
  };

  for (const name of ['plain', 'pie', 'dwarf4']) {
    test(`${name}: facts, symbols and DWARF`, async () => {
      const module = await native.openModule(goFile(name));
      const { facts } = module;
      assert.equal(facts.positionIndependent, name === 'pie');
      assert.deepEqual([facts.hasSymbols, facts.hasDwarf], [true, true]);
      const version = /go1\S+/.exec(run(goCommand(), ['version']))?.[0];
      const { go } = facts;
      assert.ok(go?.version?.startsWith(version ?? 'no version'));
      assert.equal(go?.mainModule, 'example.com/boxes');
      assert.deepEqual(Object.keys(go?.modules ?? {}), ['example.com/boxes']);

      const table = await module.functions();
      assert.equal(table.source, 'symtab');
      const told = run(goCommand(), ['tool', 'nm', '-size', '-type', goFile(name)])
        .split('\n')
        .map((line) => /^ *([0-9a-f]+) +([1-9]\d*) [Tt] (.*)$/.exec(line))
        .filter((match) => match !== null)
        .map(([, address, size, text]) => `${String(parseInt(address ?? '', 16))} ${size} ${text}`);
      const known = new Set(
        rows(table).map((row) => `${String(row.address)} ${String(row.size)} ${row.name}`),
      );
      assert.deepEqual(
        told.filter((line) => !known.has(line)),
        [],
      );
      assert.equal(known.size, told.length);

      for (const [text, places] of Object.entries(expected)) {
        const { address } = await functionNamed(module, text);
        const [parameters] = await module.parameters(Float64Array.of(address));
        assert.deepEqual(parameters?.map(place), places, text);
      }
      const both = await functionNamed(module, 'main.both');
      const [parameters] = await module.parameters(Float64Array.of(both.address));
      const context = parameters?.find(({ type }) => type === 'context.Context');
      assert.deepEqual(context?.registers, [1, 2]);

      const inlined = await module.inlined();
      const found = inlined.find((one) => one.name === 'main.inlined');
      assert.deepEqual(found?.into, ['main.main']);
      assert.ok(!inlined.some((one) => one.name === 'main.both'));

      const offsets = await module.fieldOffsets([
        { type: 'main.box', field: 'inner.second' },
        { type: 'context.valueCtx', field: 'key' },
        { type: 'main.box', field: 'outer' },
      ]);
      assert.deepEqual(offsets, [24, 16, null]);
      module.close();
    });

    test(`${name}: runtime types and itabs agree`, async () => {
      const module = await native.openModule(goFile(name));
      const tables = await module.interfaceTables('context.Context');
      const value = tables.find(({ type }) => type === '*context.valueCtx');
      assert.ok(value);
      const types = await module.runtimeTypes(['*context.valueCtx', 'context.Context', 'no.such']);
      assert.deepEqual(types, [value.typeAddress, value.interfaceAddress, null]);
      assert.ok(types[0]);
      assert.deepEqual(await module.interfaceTables('no.such'), []);
      module.close();
    });
  }

  for (const [stripped, whole] of [
    ['stripped-plain', 'plain'],
    ['stripped-pie', 'pie'],
    ['headless-plain', 'plain'],
    ['headless-pie', 'pie'],
  ] as const) {
    test(`${stripped}: its pclntab says what ${whole}'s symbols say`, async () => {
      const module = await native.openModule(goFile(stripped));
      const other = await native.openModule(goFile(whole));
      assert.equal(module.facts.go?.mainModule, 'example.com/boxes');
      assert.equal(module.facts.hasSymbols, false);
      const table = await module.functions();
      assert.equal(table.source, 'pclntab');
      // The table writes no type arguments, and does not tell apart the two calling conventions.
      const bare = (name: string): string => name.replace(/\.abi0$/, '').replace(/\[.*\]/, '[...]');
      const line = (row: Row): string => `${bare(row.name)} ${String(row.address)}`;
      const symbols = rows(await other.functions());
      const known = new Map(symbols.map((row) => [line(row), row.size]));
      const wrong = rows(table).filter((row) => known.get(line(row)) !== row.size);
      // The linker renames a few generated functions; assembly may end in padding of its own.
      assert.ok(wrong.length < table.addresses.length / 100, JSON.stringify(wrong.slice(0, 5)));
      assert.deepEqual(
        wrong.filter(({ name }) => name.startsWith('main.')),
        [],
      );
      assert.ok(table.addresses.length > symbols.length * 0.98);

      const { address } = await functionNamed(module, 'main.blank');
      const [at] = await module.lines(Float64Array.of(address));
      assert.deepEqual(at, { file: goFile('main.go'), line: 27 });
      assert.deepEqual(at, (await other.lines(Float64Array.of(address)))[0]);
      assert.deepEqual(await module.interfaceTables('context.Context'), []);
      module.close();
      other.close();
    });
  }

  test('every function of Go decodes, but for the one that holds data', async () => {
    const module = await native.openModule(goFile('plain'));
    const table = await module.functions();
    const decoded = decode(await module.instructions(table.addresses, table.sizes));
    const names = table.names.split('\n');
    const undecodable = decoded.filter(({ kind }) => kind === InstructionKind.UNDECODABLE);
    const known = /^crypto\/internal\/boring\/sig\./;
    assert.deepEqual(
      undecodable.map((record) => names[record.function] ?? '').filter((name) => !known.test(name)),
      [],
    );
    const check = decoded.findIndex(
      ({ function: index, kind }) =>
        names[index] === 'main.plain' && kind === InstructionKind.STACK_CHECK,
    );
    const [jump, push] = decoded.slice(check + 1, check + 3);
    assert.ok((jump?.flags ?? 0) & InstructionFlag.BELOW_EQUAL);
    assert.ok((push?.flags ?? 0) & InstructionFlag.FRAME_PUSH);
    module.close();
  });
});
