import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { loadNative } from '../../src/native/load.js';
import { InstructionFlag, InstructionKind, type Module } from '../../src/native/native.js';
import { functionNamed, instructionsOf } from '../tools/modules.js';
import { missingCommands } from '../tools/require.js';

const native = loadNative();
const directory = mkdtempSync(join(tmpdir(), 'underspan-module-'));
after(() => {
  rmSync(directory, { recursive: true });
});

const file = (name: string): string => join(directory, name);
const run = (command: string, args: string[]): string =>
  execFileSync(command, args, { cwd: directory, encoding: 'utf8' });

describe('instructions', { skip: missingCommands('gcc') }, () => {
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
    const empty = { ...(await functionNamed(module, 'empty')), size: 0 };
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
