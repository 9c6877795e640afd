/** In which processes return addresses may be replaced: where nothing looks for them. */
import type { BpfMap } from '../native/native.js';
import { TrampolineVerdict } from '../spans/records.generated.js';
import type { Unwinders } from '../targets/unwinders.js';

/** The kernel side takes a verdict back as soon as a process has other libraries. */
export class Trampolines {
  constructor(
    /** The map `trampolines`. */
    private readonly verdicts: BpfMap,
    private readonly unwinders: Pick<Unwinders, 'in'>,
  ) {}

  /** Looks at what the process has mapped, unless that has been done. */
  async judge(pid: number): Promise<void> {
    const key = pidKey(pid);
    if (this.verdicts.lookup(key)?.readUInt32LE() === TrampolineVerdict.ALLOWED) return;
    this.verdicts.update(key, word(TrampolineVerdict.ASKED));
    if (await this.unwinders.in(pid)) this.verdicts.delete(key);
    // Only what was asked for: if the libraries have changed meanwhile, it is gone, and asked anew.
    else this.verdicts.replace(key, word(TrampolineVerdict.ALLOWED));
  }
}

/** As maps have it whose keys or values are 32 bits. */
export function word(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32LE(value);
  return buffer;
}

/** Of a map by tgid. */
export const pidKey = (pid: number): Buffer => word(pid);
