/** Which returns are seen by a return address that the kernel replaces, not by probes in the code. */
/**
 * never: the kernel cannot, or calls are only counted. needed: for functions whose ends cannot be
 * probed. always: for all native functions.
 */
export type Trampolines = 'never' | 'needed' | 'always';

/**
 * Functions that keep their return address to use it again, or tell by it who called them: what they
 * make of another one is a crash, or wrong.
 */
const LOOKS_AT_ITS_RETURN =
  /^(?:_*(?:sig)?setjmp|_*(?:get|swap|make)context|_*vfork|_*dl(?:m?open|v?sym|addr1?)|_*mcount|_*fentry_*|_*clone3?|_Unwind_.*|unw_.*)$/;

/** What speaks for one way or the other. */
export interface TrampolineChoice {
  name: string;
  /** Why its ends cannot be probed; null: they can. */
  entryOnly: string | null;
  /** It begins and ends with one instruction, which one probe serves. */
  single: boolean;
}

/** Where it begins with an instruction that has the return address on top of the stack. */
export function takesTrampoline(
  trampolines: Trampolines,
  { name, entryOnly, single }: TrampolineChoice,
): boolean {
  if (trampolines === 'never' || single || LOOKS_AT_ITS_RETURN.test(name)) return false;
  return trampolines === 'always' || entryOnly !== null;
}
