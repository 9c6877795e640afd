import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { loadNative } from '../../src/native/load.js';
import type { Module } from '../../src/native/native.js';
import { rangesOf, readCode } from '../../src/plan/native-code.js';
import { nativeEntry, nativeReturns } from '../../src/plan/native-sites.js';
import type { FunctionCode } from '../../src/plan/sites.js';
import { SiteCondition } from '../../src/spans/records.generated.js';
import { missingCommands } from '../tools/require.js';

const native = loadNative();
const directory = mkdtempSync(join(tmpdir(), 'underspan-native-sites-'));
after(() => {
  rmSync(directory, { recursive: true });
});

const TAKEN = SiteCondition.TAKEN;
const LOOPS = 'a branch leads back to its first instruction';
const INDIRECT = 'leaves by an indirect jump';

interface Case {
  what: string;
  /**
   * Assembly. "E:" stands before the entry site and "X:" before each exit; "F" is its own
   * name, "COLD" begins its cold part "DATA" and "RELOCATED" its
   * tables; label 8 is behind it.
   */
  body: string;
  /** Bytes of stack adjustment at the entry, or why it is refused. */
  entry?: number | string;
  /** Conditions of the exits, where not all are ALWAYS; or why there are none. */
  exits?: number[] | string;
}

const RELATIVE = `lea 5f(%rip), %rdx
  movslq (%rdx,%rdi,4), %rax
  add %rdx, %rax`;
const OFFSETS = `DATA
  5: .long 1b - 5b, 2b - 5b`;
const POINTERS = `RELOCATED
  5: .quad 1b, 2b`;
const CASES = `1: inc %eax
  X: ret
  2: dec %eax
  X: ret`;

const cases: Case[] = [
  { what: 'a frame push', body: 'E: push %rbp\nmov %rsp, %rbp\npop %rbp\nX: ret' },
  { what: 'endbr64 is passed over', body: 'endbr64\nE: push %rbx\npop %rbx\nX: ret' },
  { what: 'what is not emulated, past endbr64', body: 'endbr64\nE: mov %rdi, %rbx\nX: ret' },
  { what: 'endbr64 where nothing else is left', body: 'E: endbr64\nX: ret' },
  {
    what: 'a push behind others that are no pushes',
    body: 'sub $24, %rsp\nmov %rdi, %r12\nE: push %rbp\nadd $32, %rsp\nX: ret',
    entry: 24,
  },
  { what: 'a call', body: 'sub $8, %rsp\nE: call other\nadd $8, %rsp\nX: ret', entry: 8 },
  { what: '-mfentry', body: 'endbr64\nE: call other\npush %rbp\npop %rbp\nX: ret' },
  { what: 'patchable entry', body: 'endbr64\nE: nop\nnop\nnop\nmov %rdi, %rax\nX: ret' },
  {
    what: 'not behind a write of an argument register',
    body: 'E: mov %rdi, %rbx\nmov %rsi, %rdi\npush %rbp\npop %rbp\nX: ret',
  },
  ...['di', 'si', 'dx', 'cx', 'ax'].map((name) => ({
    what: `nor of a part of ${name}`,
    body: `E: xor %e${name}, %e${name}\npush %rbp\npop %rbp\nX: ret`,
  })),
  { what: 'nor of r8', body: 'E: mov $1, %r8b\npush %rbp\npop %rbp\nX: ret' },
  { what: 'nor of r9', body: 'E: mov $1, %r9w\npush %rbp\npop %rbp\nX: ret' },
  { what: 'but of r10', body: 'mov $1, %r10d\nE: push %rbp\npop %rbp\nX: ret' },
  {
    what: 'not behind a write to memory',
    body: 'E: movl $1, (%rdi)\npush %rbp\npop %rbp\nX: ret',
  },
  {
    what: 'but behind one to the stack',
    body: 'movl $1, -8(%rsp)\nE: push %rbp\npop %rbp\nX: ret',
  },
  {
    what: 'not behind an unknown stack pointer',
    body: 'E: lea 8(%rsp), %r10\nand $-32, %rsp\npush %rbp\nmov %r10, %rsp\nsub $8, %rsp\nX: ret',
  },
  {
    what: 'the jump that decides, but nothing behind it',
    body: 'test %rdi, %rdi\nE: je 1f\npush %rbp\npop %rbp\n1: X: ret',
  },
  {
    what: 'not behind a branch target',
    body: 'E: mov %rdi, %rbx\n1: push %rbp\npop %rbp\ndec %rbx\njne 1b\nX: ret',
  },
  {
    what: 'nor behind the target of a jump table',
    body: `E: mov %rsi, %rbx\n2: push %rbp\npop %rbp\n${RELATIVE}\njmp *%rax\n1: X: ret\n${OFFSETS}`,
  },
  { what: 'a loop to the first instruction', body: '1: dec %edi\njne 1b\nX: ret', entry: LOOPS },
  { what: 'a jump to itself', body: 'push %rbx\npop %rbx\njmp F', entry: LOOPS, exits: [] },
  {
    what: 'a loop to the instruction after endbr64',
    body: 'E: endbr64\n1: dec %edi\njne 1b\nX: ret',
  },
  {
    what: 'a branch from the cold part to the start',
    body: '1: dec %edi\njne 2f\nX: ret\nCOLD\n2: jmp 1b',
    entry: LOOPS,
  },
  {
    what: 'an instruction that takes no probe',
    body: 'lock decl (%rdi)\nX: ret',
    entry: 'begins with an instruction that takes no probe',
  },
  { what: 'a single return', body: 'E: X: ret' },
  { what: 'a single jump', body: 'E: X: jmp other' },
  { what: 'a tail call', body: 'E: push %rbx\npop %rbx\nX: jmp other' },
  {
    what: 'conditional tail calls',
    body: 'E: test %rdi, %rdi\nX: je other\nX: jg other\nX: ret',
    exits: [TAKEN + 4, TAKEN + 15, SiteCondition.ALWAYS],
  },
  {
    what: 'a conditional jump alone',
    body: 'X: jc other\nud2',
    entry: 'begins with a conditional jump out of it',
    exits: [TAKEN + 2],
  },
  {
    what: 'jrcxz out of it',
    body: 'E: mov %rdi, %rbx\njrcxz 8f\nret',
    exits: 'leaves by a jump that counts a register',
  },
  { what: 'jrcxz within it', body: 'E: mov %rdi, %rbx\njrcxz 1f\nnop\n1: X: ret' },
  {
    what: 'a conditional jump with a hint',
    body: 'E: test %rdi, %rdi\n.byte 0x2e\nje other\nret',
    exits: 'ends with an instruction that takes no probe',
  },
  {
    what: 'a cold part that comes back, and its return',
    body: 'E: push %rbx\ntest %edi, %edi\nje 2f\n1: pop %rbx\nX: ret\nCOLD\n2: inc %eax\njs 1b\npop %rbx\nX: ret',
  },
  { what: 'a call that never returns', body: 'E: push %rbx\ncall other', exits: [] },
  { what: 'a trap', body: 'E: push %rbx\nud2', exits: [] },
  { what: 'no end', body: 'E: push %rbx\npop %rbx', exits: 'runs on into the code behind it' },
  {
    what: 'a subroutine in it',
    body: 'E: push %rbx\ncall 1f\npop %rbx\nret\n1: inc %eax\nret',
    exits: 'calls a part of itself',
  },
  { what: 'recursion', body: 'E: push %rbx\ncall F\npop %rbx\nX: ret' },
  { what: 'an indirect jump', body: 'E: mov (%rdi), %rbx\njmp *%rax', exits: INDIRECT },
  { what: 'a virtual tail call', body: 'E: mov (%rdi), %rbx\njmp *0x18(%rbx)', exits: INDIRECT },
  { what: 'a jump through the GOT', body: 'E: nop\nX: jmp *elsewhere@GOTPCREL(%rip)' },
  {
    what: 'a jump through a variable',
    body: 'E: nop\njmp *5f(%rip)\nRELOCATED\n5: .quad other',
    exits: INDIRECT,
  },
  { what: 'what a linker made of it', body: 'E: nop\nX: jmp *other@GOTPCREL(%rip)' },
  {
    what: 'a table of offsets',
    body: `E: push %rbp\npop %rbp\n${RELATIVE}\njmp *%rax\n${CASES}\n${OFFSETS}`,
  },
  {
    what: 'a table of pointers',
    body: `E: push %rbp\npop %rbp\nlea 5f(%rip), %rdx\njmp *(%rdx,%rdi,8)\n${CASES}\n${POINTERS}`,
  },
  {
    what: 'a table whose pointer is loaded first',
    body: `E: push %rbp\npop %rbp\nlea 5f(%rip), %rdx\nmov (%rdx,%rdi,8), %rax\nmov %rax, %rcx\njmp *%rcx\n${CASES}\n${POINTERS}`,
  },
  {
    what: 'a table as gcc -O0 reads it',
    body: `E: push %rbp\npop %rbp\nlea 0(,%rdi,4), %rdx\nlea 5f(%rip), %rax\nmov (%rdx,%rax,1), %eax\ncltq\nlea 5f(%rip), %rdx\nadd %rdx, %rax\njmp *%rax\n${CASES}\n${OFFSETS}`,
  },
  {
    what: 'a table whose address was taken before the loop',
    body: `E: push %rbp\npop %rbp\nlea 5f(%rip), %rbx\n2: movslq (%rbx,%rdi,4), %rax\nadd %rbx, %rax\njmp *%rax\n1: dec %edi\njne 2b\nX: ret\n${OFFSETS}`,
  },
  {
    what: 'a table of pointers whose address was taken before the loop',
    body: `E: push %rbx\nlea 5f(%rip), %rbx\n2: inc %rdi\njmp *(%rbx,%rdi,8)\n1: dec %edi\njne 2b\npop %rbx\nX: ret\n${POINTERS}`,
  },
  {
    what: 'the same in a register that calls change',
    body: `E: push %rbx\nlea 5f(%rip), %rcx\n2: inc %rdi\njmp *(%rcx,%rdi,8)\n1: dec %edi\njne 2b\npop %rbx\nret\n${POINTERS}`,
    exits: INDIRECT,
  },
  {
    what: 'the same in one that holds something else too',
    body: `E: push %rbx\nlea 5f(%rip), %rbx\ncmp $5, %rdi\njb 2f\nmov (%rsi), %rbx\n2: inc %rdi\njmp *(%rbx,%rdi,8)\n1: dec %edi\njne 2b\npop %rbx\nret\n${POINTERS}`,
    exits: INDIRECT,
  },
  {
    what: 'a table of functions',
    body: 'E: push %rbp\npop %rbp\nlea 5f(%rip), %rdx\njmp *(%rdx,%rdi,8)\nRELOCATED\n5: .quad other, F',
    exits: INDIRECT,
  },
  {
    what: 'a table that begins with the function itself',
    body: 'E: push %rbp\npop %rbp\nlea 5f(%rip), %rdx\njmp *(%rdx,%rdi,8)\nRELOCATED\n5: .quad F, other',
    exits: INDIRECT,
  },
  {
    what: 'a table with another base',
    body: `E: push %rbp\npop %rbp\nlea 5f(%rip), %rdx\nmovslq (%rdx,%rdi,4), %rax\nadd %rsi, %rax\njmp *%rax\n1: ret\n2: ret\n${OFFSETS}`,
    exits: INDIRECT,
  },
  {
    what: 'a value that a branch brings along',
    body: `E: push %rbp\npop %rbp\n${RELATIVE}\n7: jmp *%rax\n1: ret\n2: jmp 7b\n${OFFSETS}`,
    exits: INDIRECT,
  },
  {
    what: 'a value that a call has changed',
    body: `E: push %rbp\n${RELATIVE}\ncall other\njmp *%rax\n1: ret\n2: ret\n${OFFSETS}`,
    exits: INDIRECT,
  },
  {
    what: 'a jump that compilers make only through tables',
    body: 'E: push %rbp\nnotrack jmp *%rax\nX: ret',
  },
  {
    what: 'the same without a frame',
    body: 'mov %rdi, %rbx\nnotrack jmp *%rax\nX: ret',
    entry: LOOPS,
  },
];

/** A function of assembly, with symbols for its marks. */
function assemble({ body }: Case, index: number): string {
  const name = `case${String(index)}`;
  let marks = 0;
  const lines = body.split('\n').map((line) => {
    const text = line.trim();
    if (text === 'COLD') {
      return `.size ${name}, . - ${name}\n.section .text.unlikely\n.type ${name}.cold, @function\n${name}.cold:`;
    }
    if (text === 'DATA') return `9:\n.section .rodata`;
    if (text === 'RELOCATED') return `9:\n.section .data.rel.ro, "aw"\n.balign 8`;
    return text
      .replace(/\bE:/, `${name}_entry:`)
      .replace(/\bX:/, () => `${name}_exit${String(marks++)}:`)
      .replace(/\bF\b/, name);
  });
  const cold = body.includes('COLD');
  const moved = /DATA|RELOCATED/.test(body);
  return [
    `.text\n.globl ${name}\n.type ${name}, @function\n${name}:`,
    ...lines,
    cold
      ? `.size ${name}.cold, . - ${name}.cold`
      : `.text\n.size ${name}, ${moved ? '9b' : '.'} - ${name}`,
    // Zeros, so that a table ends.
    moved ? '.section .rodata\n.long 0, 0\n.section .data.rel.ro, "aw"\n.quad 0' : '',
    '.text\n8: int3',
  ].join('\n');
}

describe('native sites', { skip: missingCommands('gcc') }, () => {
  let module: Module;
  const code = new Map<string, FunctionCode>();
  const symbols = new Map<string, number>();

  before(async () => {
    const file = join(directory, 'code.so');
    const functions = [
      ...cases.map(assemble),
      '.globl other\n.hidden other\n.type other, @function\nother: ret\n.size other, 1',
      '.globl data\n.type data, @function\ndata: nop\n.byte 6\n.size data, . - data',
      '.globl empty\n.type empty, @function\nempty: ret\n.size empty, 0',
    ];
    writeFileSync(join(directory, 'code.s'), `${functions.join('\n')}\n`);
    execFileSync('gcc', ['-shared', '-nostdlib', '-o', file, join(directory, 'code.s')]);
    module = await native.openModule(file);
    const table = await module.functions();
    const names = table.names.split('\n');
    const ranges = rangesOf(table);
    const decoded = await readCode(
      module,
      names.map((_, index) => ranges(index)),
    );
    names.forEach((name, i) => code.set(name, decoded[i] as FunctionCode));
    for (const line of execFileSync('nm', [file], { encoding: 'utf8' }).split('\n')) {
      const [address = '', , name = ''] = line.split(' ');
      symbols.set(name, parseInt(address, 16));
    }
  });
  after(() => {
    module.close();
  });

  for (const [index, { what, body, entry = 0, exits }] of cases.entries()) {
    const name = `case${String(index)}`;
    test(what, () => {
      const body_ = code.get(name);
      assert.ok(body_);
      const chosen = nativeEntry(body_);
      if (typeof entry === 'string') {
        assert.deepEqual(chosen, { reason: entry });
      } else {
        assert.ok('sites' in chosen, JSON.stringify(chosen));
        const { address, stackAdjustment, condition } = chosen.sites;
        assert.equal(
          address - body_.address,
          (symbols.get(`${name}_entry`) ?? NaN) - body_.address,
        );
        assert.equal(stackAdjustment, entry);
        assert.equal(condition, SiteCondition.ALWAYS);
      }
      const returns = nativeReturns(body_);
      if (typeof exits === 'string') {
        assert.deepEqual(returns, { entryOnly: exits });
        return;
      }
      assert.ok('sites' in returns, JSON.stringify(returns));
      const marks = (body.match(/\bX:/g) ?? []).map((_, i) =>
        symbols.get(`${name}_exit${String(i)}`),
      );
      assert.deepEqual(
        returns.sites.map(({ address, condition }) => [address, condition]),
        marks.map((address, i) => [address, exits?.[i] ?? SiteCondition.ALWAYS]),
      );
    });
  }

  test('refuses what does not decode, and what has no size', () => {
    const data = code.get('data');
    const empty = code.get('empty');
    assert.ok(data && empty);
    const reason = 'does not decode to its end, as where data lie in the code';
    assert.deepEqual([nativeEntry(data), nativeReturns(data)], [{ reason }, { reason }]);
    assert.deepEqual(nativeEntry(empty), { reason: 'has no size' });
  });
});
