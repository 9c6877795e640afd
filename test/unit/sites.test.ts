import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { InstructionFlag as Flag, InstructionKind as Kind } from '../../src/native/native.js';
import type { Instruction } from '../../src/plan/instructions.js';
import { callSites, type FunctionCode, goEntry, returnSites } from '../../src/plan/sites.js';
import { SiteCondition } from '../../src/spans/records.generated.js';

const BASE = 0x1000;

/** Instructions laid end to end from BASE: [length, kind, flags, target]. */
function code(...rows: [number, number, number?, number?][]): FunctionCode {
  let offset = 0;
  const instructions = rows.map(([length, kind, flags = 0, target = NaN]): Instruction => {
    const at = offset;
    offset += length;
    return { offset: at, length, kind, flags, detail: 0, target, spilled: 0, effects: 0 };
  });
  return { address: BASE, size: offset, instructions };
}

const CHECK: [number, number] = [4, Kind.STACK_CHECK];
const JBE: [number, number, number, number] = [
  2,
  Kind.CONDITIONAL,
  Flag.BELOW_EQUAL | Flag.EMULATED,
  BASE + 40,
];
const PUSH: [number, number, number] = [1, Kind.PUSH, Flag.FRAME_PUSH | Flag.EMULATED];
const MOVE: [number, number] = [3, Kind.OTHER];
const RETURN: [number, number] = [1, Kind.RETURN];

describe('goEntry', () => {
  it('takes the frame push after the stack check', () => {
    const choice = goEntry(code(CHECK, JBE, PUSH, MOVE, RETURN));
    assert.deepEqual(choice, {
      sites: { address: BASE + 6, condition: SiteCondition.ALWAYS, emulated: true },
    });
  });

  it('takes the check itself where registers are wanted that are not saved', () => {
    const choice = goEntry(code(CHECK, JBE, PUSH, MOVE, RETURN), true);
    assert.deepEqual(choice, {
      sites: { address: BASE + 4, condition: SiteCondition.MAY_REPEAT, emulated: true },
    });
  });

  it('takes the frame push after the check of a large frame', () => {
    const choice = goEntry(code([8, Kind.OTHER, Flag.TOUCHES_STACK_POINTER], CHECK, JBE, PUSH));
    assert.deepEqual(choice, {
      sites: { address: BASE + 14, condition: SiteCondition.ALWAYS, emulated: true },
    });
  });

  it('takes the jump of the check where no push follows, if it falls through', () => {
    const choice = goEntry(code(CHECK, JBE, MOVE, RETURN));
    assert.deepEqual(choice, {
      sites: { address: BASE + 4, condition: SiteCondition.ABOVE, emulated: true },
    });
  });

  it('takes the jump where a loop leads back to the push', () => {
    const choice = goEntry(code(CHECK, JBE, PUSH, MOVE, [2, Kind.JUMP, 0, BASE + 6]));
    assert.deepEqual(choice, {
      sites: { address: BASE + 4, condition: SiteCondition.ABOVE, emulated: true },
    });
  });

  it('takes the first instruction of a function without a check', () => {
    const choice = goEntry(code(MOVE, RETURN));
    assert.deepEqual(choice, {
      sites: { address: BASE, condition: SiteCondition.MAY_REPEAT, emulated: false },
    });
  });

  it('does not take a jbe that checks no stack', () => {
    const choice = goEntry(code(MOVE, JBE, PUSH, RETURN));
    assert.deepEqual(choice, {
      sites: { address: BASE, condition: SiteCondition.MAY_REPEAT, emulated: false },
    });
  });

  it('refuses a first instruction that a loop leads back to', () => {
    const choice = goEntry(code(MOVE, [2, Kind.CONDITIONAL, 0, BASE], RETURN));
    assert.deepEqual(choice, { reason: 'a branch leads back to its first instruction' });
  });

  it('refuses a single instruction, and what does not decode', () => {
    assert.deepEqual(goEntry(code(RETURN)), { reason: 'is a single instruction' });
    assert.deepEqual(goEntry(code([1, Kind.UNDECODABLE])), { reason: 'does not decode' });
    assert.deepEqual(goEntry(code()), { reason: 'does not decode' });
  });
});

describe('returnSites', () => {
  it('takes every return and every jump out of the function', () => {
    const choice = returnSites(
      code(
        MOVE,
        RETURN,
        [5, Kind.JUMP, Flag.EMULATED, BASE],
        [5, Kind.JUMP, Flag.EMULATED, 0x9000],
        RETURN,
      ),
    );
    assert.ok('sites' in choice);
    assert.deepEqual(
      choice.sites.map(({ address }) => address - BASE),
      [3, 9, 14],
    );
  });

  it('tells a ret of one byte from those that do more, and from jumps', () => {
    const choice = returnSites(
      code(RETURN, [3, Kind.RETURN], [2, Kind.RETURN], [5, Kind.JUMP, Flag.EMULATED, 0x9000]),
    );
    assert.ok('sites' in choice);
    assert.deepEqual(
      choice.sites.map(({ plainReturn }) => plainReturn === true),
      [true, false, false, false],
    );
  });

  it('finds none in a function that never returns', () => {
    assert.deepEqual(returnSites(code(MOVE, [2, Kind.TRAP])), { sites: [] });
  });

  it('refuses conditional jumps out of the function', () => {
    assert.deepEqual(returnSites(code([6, Kind.CONDITIONAL, 0, 0x9000], RETURN)), {
      reason: 'leaves by a conditional jump',
    });
  });
});

describe('callSites', () => {
  it('finds the calls of the functions asked for only', () => {
    const body = code([5, Kind.CALL, Flag.EMULATED, 0x2000], [5, Kind.CALL, Flag.EMULATED, 0x3000]);
    assert.deepEqual(
      callSites(body, new Set([0x3000])).map(({ address }) => address - BASE),
      [5],
    );
  });
});
