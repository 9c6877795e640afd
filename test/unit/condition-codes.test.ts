import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { missingCommands } from '../tools/require.js';

const directory = mkdtempSync(join(tmpdir(), 'underspan-conditions-'));
after(() => {
  rmSync(directory, { recursive: true });
});

const CODES = 'o no b ae e ne be a s ns p np l ge le g'.split(' ');

/** What the kernel side makes of the flags, beside what the processor does. */
const program = `
#include <linux/types.h>
#include <stdbool.h>
#include <stdio.h>
typedef __u64 u64;
#ifndef __always_inline
#define __always_inline inline
#endif
#include "registers.bpf.h"

int main(void)
{
	for (unsigned set = 0; set < 32; set++) {
		struct pt_regs regs = { .eflags = 2 };
		unsigned long flags;
		bool taken[16];

		regs.eflags |= (set & 1 ? CARRY_FLAG : 0) | (set & 2 ? PARITY_FLAG : 0) |
			       (set & 4 ? ZERO_FLAG : 0) | (set & 8 ? SIGN_FLAG : 0) |
			       (set & 16 ? OVERFLOW_FLAG : 0);
		flags = regs.eflags;
		${CODES.map(
      (code, i) => `
		taken[${String(i)}] = true;
		asm volatile goto("push %0; popf; j${code} %l1" : : "r"(flags) : "cc", "memory" : is_${code});
		taken[${String(i)}] = false;
	is_${code}:`,
    ).join('')}
		for (unsigned code = 0; code < 16; code++)
			if (taken[code] != jump_is_taken(&regs, code))
				printf("code %u, flags %lx\\n", code, flags);
	}
	puts("compared");
	return 0;
}
`;

test(
  'the kernel side judges a conditional jump as the processor does',
  { skip: process.arch === 'x64' ? missingCommands('gcc') : 'this is not x86-64' },
  () => {
    const source = join(directory, 'conditions.c');
    const file = join(directory, 'conditions');
    writeFileSync(source, program);
    const headers = join(import.meta.dirname, '../../../bpf');
    execFileSync('gcc', ['-O1', '-mno-red-zone', '-I', headers, '-o', file, source]);
    assert.equal(execFileSync(file, { encoding: 'utf8' }), 'compared\n');
  },
);
