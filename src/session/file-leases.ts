/**
 * Files that are kept as they are while probes wait in them. The kernel puts breakpoints into every
 * new mapping of a file whatever it holds by then, and a file that nothing runs may be written over.
 */
import { LEASE_OTHERS } from '../native/host.js';
import type { Lease, Native } from '../native/native.js';
import { isNativeError } from '../plan/module-errors.js';
import type { Notice } from '../sinks/sink.js';

export class FileLeases {
  private denied = false;

  constructor(
    private readonly native: Native,
    private readonly onNotice: (notice: Notice) => void,
  ) {}

  /** Null: probes must not wait in it. `exe` is what it is called. */
  take(file: string, exe: string): Lease | null {
    try {
      return this.native.leaseFile(file);
    } catch (error) {
      if (isNativeError(error) && error.code === 'BPF_NOT_PERMITTED') this.tellDenied(exe);
      return null;
    }
  }

  /** Once: what holds for one file of another user holds for all of them. */
  private tellDenied(exe: string): void {
    if (this.denied) return;
    this.denied = true;
    this.onNotice({
      code: 'LEASE_NOT_PERMITTED',
      message: `probes of ${exe} go with its last process, and the next one is traced only once it is attached again: this user may not learn who is about to write to files of others`,
      hint: `run as root, or with ${LEASE_OTHERS}`,
    });
  }
}
