import { InstructionEffect, InstructionFlag, InstructionKind } from '../native/native.js';
import { SiteCondition } from '../spans/records.generated.js';
import type { Instruction } from './instructions.js';

/** An instruction that is to carry a probe. */
export interface Site {
  /** Address in the module. */
  address: number;
  condition: number;
  /** The kernel emulates it in the breakpoint; any other is single-stepped, ten times as dear. */
  emulated: boolean;
  /** A function of the kernel, whose probes are no traps. */
  inKernel?: boolean;
  /** Why no instruction was taken that the kernel need not single-step, where there is a choice. */
  whyDear?: string;
  /** Of native code: bytes from the stack pointer to the return address's place; default 0. */
  stackAdjustment?: number;
  /** A ret of one byte, which a program may carry out by itself where the kernel lets it. */
  plainReturn?: boolean;
}

/** Code that lies in one piece. */
export interface CodePart {
  address: number;
  size: number;
  instructions: Instruction[];
}

/** A function, by the part of it that begins with its entry. */
export interface FunctionCode extends CodePart {
  /** Parts that the compiler has put elsewhere, such as what is seldom executed. */
  parts?: readonly CodePart[];
}

/** What is read at an entry, and so must be there as the function was called with it. */
export interface EntryNeeds {
  /** A bit for each general register, as instructions encode them. */
  registers: number;
  memory: boolean;
}

/** Sites, or why there are none. */
export type Choice<T> = { sites: T } | { reason: string };

const has = (instruction: Instruction, flag: number): boolean => (instruction.flags & flag) !== 0;

const siteAt = (code: FunctionCode, instruction: Instruction, condition: number): Site => ({
  address: code.address + instruction.offset,
  condition,
  emulated: has(instruction, InstructionFlag.EMULATED),
});

/** Addresses that the function's own direct branches lead to. */
function branchTargets(code: FunctionCode): Set<number> {
  const targets = new Set<number>();
  for (const { kind, target } of code.instructions) {
    if (kind === InstructionKind.JUMP || kind === InstructionKind.CONDITIONAL) targets.add(target);
  }
  return targets;
}

/** How far into a function Go's stack check may begin: large frames compute a limit first. */
const STACK_CHECK_WITHIN = 6;

/**
 * Where a Go function's entry is best seen. The frame push after the stack check runs once a
 * call; the check's own jump runs again when the stack has grown, which its flags tell apart;
 * both are emulated. Without a check the first instruction is the entry, unless something loops
 * back to it.
 *
 * `unsaved`: registers are wanted that the function does not use, and so does not save when its
 * stack grows. They are right only the first time that it begins.
 */
export function goEntry(
  code: FunctionCode,
  unsaved = false,
  needs: EntryNeeds = GO_ARGUMENTS,
): Choice<Site> {
  const { instructions } = code;
  const first = instructions[0];
  if (!first || first.kind === InstructionKind.UNDECODABLE) return { reason: 'does not decode' };
  const targets = branchTargets(code);
  const isTarget = (instruction: Instruction): boolean =>
    targets.has(code.address + instruction.offset);

  const check = instructions.findIndex(
    (instruction, index) =>
      index < STACK_CHECK_WITHIN && instruction.kind === InstructionKind.STACK_CHECK,
  );
  if (check >= 0 && instructions.slice(0, check).every(onlyComputes)) {
    const jump = instructions[check + 1];
    if (
      jump?.kind === InstructionKind.CONDITIONAL &&
      has(jump, InstructionFlag.BELOW_EQUAL) &&
      !isTarget(jump)
    ) {
      if (unsaved) return { sites: siteAt(code, jump, SiteCondition.MAY_REPEAT) };
      const push = instructions[check + 2];
      if (push && has(push, InstructionFlag.FRAME_PUSH) && !isTarget(push)) {
        return { sites: siteAt(code, push, SiteCondition.ALWAYS) };
      }
      return { sites: siteAt(code, jump, SiteCondition.ABOVE) };
    }
  }
  if (isTarget(first)) return { reason: 'a branch leads back to its first instruction' };
  if (first.kind === InstructionKind.RETURN || first.kind === InstructionKind.JUMP) {
    return { reason: 'is a single instruction' };
  }
  const { instruction, whyDear } = cheapestBegin(code, targets, needs);
  if (has(instruction, InstructionFlag.OPTIMIZED)) {
    return { reason: 'begins with a nop that newer kernels replace' };
  }
  // A check that is not recognised would make it begin anew.
  const site = siteAt(code, instruction, SiteCondition.MAY_REPEAT);
  return { sites: whyDear === null ? site : { ...site, whyDear } };
}

/** General registers, as instructions encode them, of the words that Go passes in registers. */
const GO_REGISTERS = [0, 3, 1, 7, 6, 8, 9, 10, 11];

/** Words of Go's ABI, a bit each, as registers. */
export const goNeeds = (words: number, memory: boolean): EntryNeeds => ({
  registers: GO_REGISTERS.reduce(
    (mask, register, word) => mask | (((words >> word) & 1) << register),
    0,
  ),
  memory,
});

const GO_ARGUMENTS = goNeeds(-1, true);

/** rsp, by which calls are paired, and r14, which holds the goroutine. */
const GO_ALWAYS = (1 << 4) | (1 << 14);

/**
 * The first instruction that is emulated, if whoever calls the function comes to it once, and finds
 * there what it was called with; else the first of all, and why.
 */
function cheapestBegin(
  code: FunctionCode,
  targets: ReadonlySet<number>,
  needs: EntryNeeds,
): { instruction: Instruction; whyDear: string | null } {
  const [first] = code.instructions as [Instruction];
  const changes =
    needs.registers | GO_ALWAYS | (needs.memory ? InstructionEffect.WRITES_MEMORY : 0);
  let why: string | null = null;
  let next = 0;
  for (const instruction of code.instructions) {
    const { offset, length, kind, target, effects } = instruction;
    const address = code.address + offset;
    if (offset !== next || kind === InstructionKind.RETURN) break;
    if (targets.has(address) || mayJumpTo(code, address)) why ??= 'a branch leads in';
    if (has(instruction, InstructionFlag.EMULATED)) {
      const leaves = target < code.address || target >= code.address + code.size;
      if (kind !== InstructionKind.CALL && leaves) break;
      if (why === null) return { instruction, whyDear: null };
      return { instruction: first, whyDear: `${why} before one that is emulated` };
    }
    if (kind !== InstructionKind.OTHER && kind !== InstructionKind.STACK_CHECK) break;
    if ((effects & changes) !== 0) why ??= 'what is read at its beginning is changed';
    next += length;
  }
  return { instruction: first, whyDear: 'no instruction at its beginning is emulated' };
}

/** By a table, of whose places the lowest may be known. */
function mayJumpTo({ address, instructions }: FunctionCode, to: number): boolean {
  if (to === address) return false;
  return instructions.some(
    ({ kind, target }) => kind === InstructionKind.INDIRECT_JUMP && !(target > to),
  );
}

/** Before the stack check only the limit is computed; huge frames jump if that wraps around. */
function onlyComputes({ kind }: Instruction): boolean {
  return kind === InstructionKind.OTHER || kind === InstructionKind.CONDITIONAL;
}

/** All instructions by which a function ends: returns, and jumps into other functions. */
export function returnSites(code: FunctionCode): Choice<Site[]> {
  const end = code.address + code.size;
  const leaves = (target: number): boolean => target < code.address || target >= end;
  const sites: Site[] = [];
  for (const instruction of code.instructions) {
    switch (instruction.kind) {
      case InstructionKind.UNDECODABLE:
        return { reason: 'does not decode' };
      case InstructionKind.RETURN:
        sites.push({
          ...siteAt(code, instruction, SiteCondition.ALWAYS),
          // Not one that pops its arguments too, nor one with a prefix.
          plainReturn: instruction.length === 1,
        });
        break;
      case InstructionKind.JUMP:
        if (leaves(instruction.target)) {
          sites.push(siteAt(code, instruction, SiteCondition.ALWAYS));
        }
        break;
      case InstructionKind.CONDITIONAL:
        if (leaves(instruction.target)) return { reason: 'leaves by a conditional jump' };
        break;
    }
  }
  return { sites };
}

/** Calls of any of the functions at `callees`. */
export function callSites(code: FunctionCode, callees: ReadonlySet<number>): Site[] {
  return code.instructions
    .filter(({ kind, target }) => kind === InstructionKind.CALL && callees.has(target))
    .map((instruction) => siteAt(code, instruction, SiteCondition.ALWAYS));
}
