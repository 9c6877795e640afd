import {
  InstructionEffect,
  InstructionFlag,
  InstructionKind,
  JumpDetail,
  NO_FLAGS,
} from '../native/native.js';
import { SiteCondition } from '../spans/records.generated.js';
import { siteCostNs, wayOf } from './cost.js';
import { ASSUMED_COSTS, type HostCosts } from './host-costs.js';
import type { Instruction } from './instructions.js';
import type { Choice, CodePart, EntryNeeds, FunctionCode, Site } from './sites.js';

/** Where a function begins. If it is a single instruction, that is one of its returns as well. */
export interface EntrySite extends Site {
  /** From the stack pointer at the site to the place of the return address, in bytes. */
  stackAdjustment: number;
}

/** Why the returns of a function are not watched. */
export interface EntryOnly {
  entryOnly: string;
}

const partsOf = (code: FunctionCode): readonly CodePart[] => [code, ...(code.parts ?? [])];

const lies = (address: number, part: CodePart): boolean =>
  address >= part.address && address < part.address + part.size;

const isInside = (code: FunctionCode, address: number): boolean =>
  lies(address, code) || (code.parts?.some((part) => lies(address, part)) ?? false);

const affects = (instruction: Instruction, effect: number): boolean =>
  (instruction.effects & effect) !== 0;

const isEmulated = ({ flags }: Instruction): boolean => (flags & InstructionFlag.EMULATED) !== 0;

/** See there why it never carries a probe. */
const isOptimized = ({ flags }: Instruction): boolean => (flags & InstructionFlag.OPTIMIZED) !== 0;

/** Calls have no effects; what is emulated takes a probe. */
const takesProbe = (instruction: Instruction): boolean =>
  isEmulated(instruction) ||
  (instruction.kind !== InstructionKind.CALL &&
    !isOptimized(instruction) &&
    !affects(instruction, InstructionEffect.NOT_PROBED));

const siteAt = (part: CodePart, instruction: Instruction, condition: number): Site => ({
  address: part.address + instruction.offset,
  condition,
  emulated: isEmulated(instruction),
  ...(instruction.kind === InstructionKind.RETURN ? { plainReturn: instruction.length === 1 } : {}),
});

/** Bytes by which the stack grows; NaN where that cannot be told. */
const stackGrowth = (instruction: Instruction): number =>
  affects(instruction, InstructionEffect.STACK_UNKNOWN)
    ? NaN
    : -(instruction.effects >> InstructionEffect.STACK_SHIFT) * 8;

/** rax, which holds how many floats a variadic function is called with, rcx, rdx, rsi, rdi, r8, r9. */
const ARGUMENTS = 0b11_1100_0111;

export const ALL_ARGUMENTS: EntryNeeds = { registers: ARGUMENTS, memory: true };
/** Of a function of which nothing is read but when it runs. */
export const NO_ARGUMENTS: EntryNeeds = { registers: 0, memory: false };

/** After any of the others it is not certain that the next instruction is executed. */
const STRAIGHT = new Set<number>([
  InstructionKind.OTHER,
  InstructionKind.PUSH,
  InstructionKind.NOP,
  InstructionKind.ENDBR,
  InstructionKind.STACK_CHECK,
]);

/**
 * Where a function's entry is best seen: at the cheapest instruction that every call executes once,
 * finding there what it was called with. That is the first which the kernel emulates, if there is
 * one; else the first of all.
 */
export function nativeEntry(
  code: FunctionCode,
  costs = ASSUMED_COSTS,
  needs = ALL_ARGUMENTS,
): Choice<EntrySite> {
  return chooseEntry(code, costs, needs, () => true);
}

/** The same, with the return address on top of the stack, where a trampoline replaces it. */
export function trampolineEntry(
  code: FunctionCode,
  costs = ASSUMED_COSTS,
  needs = ALL_ARGUMENTS,
): Choice<EntrySite> {
  return chooseEntry(code, costs, needs, ({ stackAdjustment }) => stackAdjustment === 0);
}

function chooseEntry(
  code: FunctionCode,
  costs: HostCosts,
  needs: EntryNeeds,
  isWanted: (candidate: EntryCandidate) => boolean,
): Choice<EntrySite> {
  const unreadable = whyUnreadable(code);
  if (unreadable !== null) return { reason: unreadable };
  const first = code.instructions[0] as Instruction;
  const targets = branchTargets(code);
  const straight = prologue(code);
  if (entryMayRepeat(code, targets, straight))
    return { reason: 'a branch leads back to its first instruction' };

  const { candidates: all, end } = entryCandidates(code, targets, straight, needs);
  const candidates = all.filter(isWanted);
  const single = exitOf(code, code, first);
  if (candidates.length === 0 && single && takesProbe(first)) {
    if (single.condition === SiteCondition.ALWAYS) {
      return { sites: { ...single, stackAdjustment: 0 } };
    }
    return { reason: 'begins with a conditional jump out of it' };
  }
  const best = cheapest(candidates, costs);
  if (!best) return { reason: 'begins with an instruction that takes no probe' };
  const { stackAdjustment, site } = best;
  const dear = wayOf(site, costs) === 'single-stepped';
  return { sites: { ...site, stackAdjustment, ...(dear ? { whyDear: end } : {}) } };
}

function cheapest(candidates: readonly EntryCandidate[], costs: HostCosts): EntryCandidate | null {
  const isEndbr = ({ instruction }: EntryCandidate): boolean =>
    instruction.kind === InstructionKind.ENDBR;
  // Of what costs the same the first, but endbr64 only where nothing else is left.
  const isBetter = (a: EntryCandidate, b: EntryCandidate): boolean => {
    const dearer = siteCostNs(a.site, costs) - siteCostNs(b.site, costs);
    return dearer === 0 ? !isEndbr(a) && isEndbr(b) : dearer < 0;
  };
  let best: EntryCandidate | null = null;
  for (const each of candidates) if (best === null || isBetter(each, best)) best = each;
  return best;
}

interface EntryCandidate {
  instruction: Instruction;
  site: Site;
  stackAdjustment: number;
}

/** `end`: why no instruction further on is one. */
function entryCandidates(
  code: FunctionCode,
  targets: ReadonlySet<number>,
  straight: readonly Instruction[],
  needs: EntryNeeds,
): { candidates: EntryCandidate[]; end: string } {
  const candidates: EntryCandidate[] = [];
  let stackAdjustment = 0;
  const endAt = (index: number, why: string): ReturnType<typeof entryCandidates> => ({
    candidates,
    end: straight.slice(index).some(isEmulated) ? `${why} before one that is emulated` : NOTHING,
  });
  for (let index = 0; index < straight.length; index++) {
    const instruction = straight[index] as Instruction;
    if (targets.has(code.address + instruction.offset)) return endAt(index, 'a branch leads in');
    if (takesProbe(instruction) && exitOf(code, code, instruction) === null) {
      const site = siteAt(code, instruction, SiteCondition.ALWAYS);
      candidates.push({ instruction, site, stackAdjustment });
    }
    if (affects(instruction, needs.registers)) return endAt(index + 1, 'arguments are changed');
    // What it writes belongs behind the entry; but one that is a little late is better than none.
    const writes = needs.memory && affects(instruction, InstructionEffect.WRITES_MEMORY);
    if (candidates.length > 0 && writes) return endAt(index + 1, 'memory is written');
    stackAdjustment += stackGrowth(instruction);
    if (Number.isNaN(stackAdjustment)) return endAt(index + 1, 'the stack is realigned');
  }
  return { candidates, end: NOTHING };
}

const NOTHING = 'no instruction at its beginning is emulated';

/** The instructions that every call executes one after the other. */
function prologue({ instructions }: FunctionCode): Instruction[] {
  const straight: Instruction[] = [];
  let next = 0;
  for (const instruction of instructions) {
    if (instruction.offset !== next) break;
    straight.push(instruction);
    if (!STRAIGHT.has(instruction.kind)) break;
    next += instruction.length;
  }
  return straight;
}

/** Addresses that the function's own branches lead to, of each table only the lowest. */
function branchTargets(code: FunctionCode): Set<number> {
  const targets = new Set<number>();
  for (const { instructions } of partsOf(code)) {
    for (const { kind, target } of instructions)
      if (kind !== InstructionKind.CALL && !Number.isNaN(target)) targets.add(target);
  }
  return targets;
}

/**
 * Something leads back to the first instruction; or a jump through a table that is not known may,
 * which is impossible only where a second execution would leave another frame on the stack.
 */
function entryMayRepeat(
  code: FunctionCode,
  targets: ReadonlySet<number>,
  straight: readonly Instruction[],
): boolean {
  if (targets.has(code.address)) return true;
  const unknown = partsOf(code).some(({ instructions }) =>
    instructions.some(
      (instruction) => isTableJump(instruction) && Number.isNaN(instruction.target),
    ),
  );
  return unknown && !straight.some((instruction) => stackGrowth(instruction) > 0);
}

const isTableJump = ({ kind, detail }: Instruction): boolean =>
  kind === InstructionKind.INDIRECT_JUMP && detail === JumpDetail.TABLE;

/** Why nothing can be said of a function; null: its code is known to its end. */
function whyUnreadable(code: FunctionCode): string | null {
  if (code.size === 0) return 'has no size';
  for (const { instructions } of partsOf(code)) {
    const first = instructions[0];
    if (!first || first.kind === InstructionKind.UNDECODABLE) {
      return 'does not decode to its end, as where data lie in the code';
    }
  }
  return null;
}

/**
 * All instructions by which a function ends: returns, and jumps out of all its parts (tail calls),
 * also those through the GOT.
 * Functions that leave in another way too are traced by their entries alone.
 */
export function nativeReturns(code: FunctionCode): Choice<Site[]> | EntryOnly {
  const unreadable = whyUnreadable(code);
  if (unreadable !== null) return { reason: unreadable };
  const sites: Site[] = [];
  for (const part of partsOf(code)) {
    for (const instruction of part.instructions) {
      const why = whyEntryOnly(code, instruction);
      if (why !== null) return { entryOnly: why };
      const site = exitOf(code, part, instruction);
      if (site === null) continue;
      if (!takesProbe(instruction))
        return { entryOnly: 'ends with an instruction that takes no probe' };
      sites.push(site);
    }
    if (runsOn(code, part)) return { entryOnly: 'runs on into the code behind it' };
  }
  return { sites };
}

/** The site at which an instruction ends the function; null if it does not. */
function exitOf(code: FunctionCode, part: CodePart, instruction: Instruction): Site | null {
  const { kind, target, detail } = instruction;
  switch (kind) {
    case InstructionKind.RETURN:
      return siteAt(part, instruction, SiteCondition.ALWAYS);
    case InstructionKind.JUMP:
      return isInside(code, target) ? null : siteAt(part, instruction, SiteCondition.ALWAYS);
    case InstructionKind.CONDITIONAL:
      if (isInside(code, target)) return null;
      return siteAt(part, instruction, SiteCondition.TAKEN + (detail & 15));
    case InstructionKind.INDIRECT_JUMP:
      if (detail !== JumpDetail.GOT) return null;
      return siteAt(part, instruction, SiteCondition.ALWAYS);
    default:
      return null;
  }
}

/** Why a function with this instruction has ends that cannot be watched; null: it has none. */
function whyEntryOnly(code: FunctionCode, instruction: Instruction): string | null {
  const { kind, target, detail } = instruction;
  switch (kind) {
    case InstructionKind.INDIRECT_JUMP:
      return detail === JumpDetail.UNKNOWN ? 'leaves by an indirect jump' : null;
    case InstructionKind.CONDITIONAL:
      if (detail !== NO_FLAGS || isInside(code, target)) return null;
      return 'leaves by a jump that counts a register';
    case InstructionKind.CALL:
      // Its returns then end calls within it.
      if (target === code.address || !isInside(code, target)) return null;
      return 'calls a part of itself';
    default:
      return null;
  }
}

/** After these nothing is executed; a call at the very end is of a function that never returns. */
const LAST = new Set<number>([
  InstructionKind.RETURN,
  InstructionKind.JUMP,
  InstructionKind.INDIRECT_JUMP,
  InstructionKind.TRAP,
  InstructionKind.CALL,
  InstructionKind.INDIRECT_CALL,
]);

/** Its last instruction is followed by another function's first. */
function runsOn(code: FunctionCode, { address, size, instructions }: CodePart): boolean {
  let end = size;
  if (partsOf(code).some((part) => part.address === address + end)) return false;
  let last = instructions.length - 1;
  // A linker that makes a call or jump shorter fills it up.
  while (instructions[last]?.kind === InstructionKind.NOP) end = instructions[last--]?.offset ?? 0;
  const { offset = 0, length = 0, kind = InstructionKind.OTHER } = instructions[last] ?? {};
  return offset + length !== end || !LAST.has(kind);
}
