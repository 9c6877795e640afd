/** Where a native function begins and ends. */
import { InstructionFlag, InstructionKind } from '../native/native.js';
import { SiteCondition } from '../spans/records.generated.js';
import { type Choice, type FunctionCode, returnSites, type Site } from './sites.js';

export type { FunctionCode } from './sites.js';

export function nativeEntry(code: FunctionCode): Choice<Site> {
  const first = code.instructions[0];
  if (!first || first.kind === InstructionKind.UNDECODABLE) return { reason: 'does not decode' };
  const targets = new Set(
    code.instructions
      .filter(({ kind }) => kind === InstructionKind.JUMP || kind === InstructionKind.CONDITIONAL)
      .map(({ target }) => target),
  );
  const after = first.kind === InstructionKind.ENDBR ? code.instructions[1] : first;
  const chosen = after && !targets.has(code.address + after.offset) ? after : first;
  if (targets.has(code.address + chosen.offset)) {
    return { reason: 'a branch leads back to its first instruction' };
  }
  return {
    sites: {
      address: code.address + chosen.offset,
      condition: SiteCondition.ALWAYS,
      emulated: (chosen.flags & InstructionFlag.EMULATED) !== 0,
    },
  };
}

export function nativeReturns(code: FunctionCode): Choice<Site[]> | { entryOnly: string } {
  if (code.instructions.some(({ kind }) => kind === InstructionKind.INDIRECT_JUMP)) {
    return { entryOnly: 'may leave by an indirect jump' };
  }
  return returnSites(code);
}
