import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  InstructionEffect as Effect,
  InstructionFlag as Flag,
  InstructionKind as Kind,
} from '../../src/native/native.js';
import type { Instruction } from '../../src/plan/instructions.js';
import {
  callSites,
  type FunctionCode,
  goEntry,
  goNeeds,
  returnSites,
} from '../../src/plan/sites.js';
import { SiteCondition } from '../../src/spans/records.generated.js';

const BASE = 0x1000;

/** Instructions laid end to end from BASE: [length, kind, flags, target, effects]. */
function code(...rows: [number, number, number?, number?, number?][]): FunctionCode {
  let offset = 0;
  const instructions = rows.map(
    ([length, kind, flags = 0, target = NaN, effects = 0]): Instruction => {
      const at = offset;
      offset += length;
      return { offset: at, length, kind, flags, detail: 0, target, spilled: 0, effects };
    },
  );
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

  const begin = (whyDear: string): object => ({
    sites: { address: BASE, condition: SiteCondition.MAY_REPEAT, emulated: false, whyDear },
  });
  const later = (offset: number): object => ({
    sites: { address: BASE + offset, condition: SiteCondition.MAY_REPEAT, emulated: true },
  });
  const NOTHING = 'no instruction at its beginning is emulated';
  const BRANCH = 'a branch leads in before one that is emulated';
  const CHANGED = 'what is read at its beginning is changed before one that is emulated';
  const [RAX, RSP, R12, R14] = [1 << 0, 1 << 4, 1 << 12, 1 << 14];
  const writes = (...effects: number[]): [number, number, number, number, number] => [
    3,
    Kind.OTHER,
    0,
    NaN,
    effects.reduce((all, effect) => all | effect, 0),
  ];
  const jumpTo = (offset: number): [number, number, number, number] => [
    2,
    Kind.CONDITIONAL,
    Flag.EMULATED,
    BASE + offset,
  ];

  it('takes the first instruction of a function without a check where none is emulated', () => {
    assert.deepEqual(goEntry(code(MOVE, RETURN)), begin(NOTHING));
    // What lies behind a return, a call or a jump is not come to by every call.
    assert.deepEqual(goEntry(code(MOVE, RETURN, PUSH)), begin(NOTHING));
    assert.deepEqual(goEntry(code(MOVE, [2, Kind.INDIRECT_CALL], PUSH)), begin(NOTHING));
  });

  it('takes the first that is emulated of a function without a check', () => {
    assert.deepEqual(goEntry(code(MOVE, jumpTo(6), MOVE, RETURN)), later(3));
    assert.deepEqual(goEntry(code(MOVE, [1, Kind.NOP, Flag.EMULATED], RETURN)), later(3));
    assert.deepEqual(goEntry(code(writes(R12), PUSH, RETURN)), later(3));
  });

  it('takes none by which what is read has changed', () => {
    const body = (...effects: number[]): FunctionCode =>
      code(writes(...effects), jumpTo(6), MOVE, RETURN);
    assert.deepEqual(goEntry(body(RAX)), begin(CHANGED));
    assert.deepEqual(goEntry(body(Effect.WRITES_MEMORY)), begin(CHANGED));
    // Nothing but rbx is read.
    const needs = goNeeds(0b10, false);
    assert.deepEqual(goEntry(body(RAX), false, needs), later(3));
    assert.deepEqual(goEntry(body(1 << 3), false, needs), begin(CHANGED));
    assert.deepEqual(goEntry(body(Effect.WRITES_MEMORY), false, needs), later(3));
    for (const always of [RSP, R14]) {
      assert.deepEqual(goEntry(body(always), false, goNeeds(0, false)), begin(CHANGED));
    }
  });

  it('takes none that a branch leads back to, or may', () => {
    const loop = code(MOVE, jumpTo(6), [2, Kind.JUMP, 0, BASE + 3], RETURN);
    assert.deepEqual(goEntry(loop), begin(BRANCH));
    const table = (target: number): FunctionCode =>
      code(MOVE, jumpTo(6), [2, Kind.INDIRECT_JUMP, 0, target], RETURN);
    assert.deepEqual(goEntry(table(NaN)), begin(BRANCH));
    assert.deepEqual(goEntry(table(BASE + 3)), begin(BRANCH));
    assert.deepEqual(goEntry(table(BASE + 7)), later(3));
  });

  it('does not take a jump out of the function, which is one of its returns', () => {
    assert.deepEqual(goEntry(code(MOVE, JBE, PUSH, RETURN)), begin(NOTHING));
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
