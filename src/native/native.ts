/**
 * The addon's surface: it reports facts about ELF files (module.ts, instructions.ts) and runs BPF
 * objects (programs.ts); what to do with them is decided elsewhere.
 *
 * Every method that returns a Promise works off the JavaScript thread. Every failure is a
 * NativeError whose `code` is one of NativeErrorCode; input files are untrusted, so a broken
 * one is ELF_MALFORMED and never a crash. Addresses are those of the ELF file (p_vaddr), and
 * fit a JavaScript number (below 2^53); a file where they do not is ELF_MALFORMED.
 */
import type { Module } from './module.js';
import type { BpfMap, LoadOptions, Programs, Reader, ReaderOptions } from './programs.js';

export * from './instructions.js';
export * from './module.js';
export type * from './programs.js';

export type NativeErrorCode =
  | 'ELF_UNREADABLE' // the file cannot be opened or read (errno in the message)
  | 'ELF_NOT_ELF' // something else, such as a script
  | 'ELF_MALFORMED' // truncated, or its tables contradict each other
  | 'ELF_UNSUPPORTED' // 32 bits, or another machine
  | 'BPF_NOT_PERMITTED' // EPERM, EACCES
  | 'BPF_UNSUPPORTED' // this kernel lacks what was asked for
  | 'BPF_REFUSED' // the verifier refused; `log` has its last useful lines
  | 'BPF_FAILED' // anything else, errno in the message
  | 'ATTACH_FAILED'
  | 'CLOSED'; // the handle was closed before

export interface NativeError extends Error {
  code: NativeErrorCode;
  errno?: number;
  log?: string;
}

export interface Features {
  /** Kernel BTF at /sys/kernel/btf/vmlinux. */
  btf: boolean;
  ringBuffer: boolean;
  /** bpf_get_attach_cookie in uprobe programs. */
  cookies: boolean;
  /** uprobe_multi links. */
  uprobeMulti: boolean;
  /** uprobe_multi with a PID sees all threads of the process (commit 46ba0e49b642). */
  uprobeMultiThreads: boolean;
  /** uprobe.session, also where seccomp filters: one program at both ends of a call (6.13). */
  uprobeSession: boolean;
  /** Sleepable uprobe programs with bpf_copy_from_user. */
  sleepable: boolean;
  /** Fetching atomics and compare-and-exchange (5.12). */
  atomics: boolean;
  /** bpf_find_vma: a program can look up the mapping that holds an address. */
  findsMappings: boolean;
  /** Uprobe programs may write ip and sp, and the kernel then leaves out the instruction (6.19). */
  writesRegisters: boolean;
  /** Run-time statistics of BPF programs can be switched on. */
  runTimeStatistics: boolean;
  /** Probes at functions of the kernel. */
  kprobes: boolean;
  /** kprobe.multi links. */
  kprobeMulti: boolean;
  /** Programs of sections fentry and fexit. */
  fentry: boolean;
}

/**
 * Nanoseconds that a hit adds, its program being empty, on an instruction of our own code. Null is
 * what was not to be measured.
 */
export interface Calibration {
  pushNs: number;
  /** A conditional jump. */
  jumpNs: number;
  moveNs: number;
  returnNs: number;
  /** Both ends of a call with a session probe, at a push. */
  sessionNs: number | null;
  /** A ret that the program carries out. */
  carriedOutNs: number | null;
  /** A hit on a push while another thread makes them too. */
  besideNs: number;
}

/**
 * A read lease on a file: whoever opens it for writing waits until it is closed (for as long as
 * fs.lease-break-time), and this process gets SIGIO, which must have a listener by then.
 */
export interface Lease {
  /** Somebody waits. */
  isBroken(): boolean;
  close(): void;
}

export interface KernelValue {
  /** Index of its function. */
  function: number;
  /** How many its function has. */
  parameters: number;
  /** "": what the function returns. */
  path: string;
  /** Why it cannot be read; null: it can. */
  reason: string | null;
  /** Which argument, all of them being words. */
  register: number;
  /** As in struct value_plan. */
  steps: number[];
  kind: 'int' | 'uint' | 'bool' | 'pointer' | 'text' | 'characters';
  size: number;
  type: string;
}

export interface Native {
  /**
   * What was stripped from a program that is not of Go is looked for beneath `debugRoots`, each the
   * root of a file system: in the debug file with its build id, or that its .gnu_debuglink names.
   */
  openModule(path: string, debugRoots?: readonly string[]): Promise<Module>;
  /**
   * Whether code of this file, an executable or a library, looks for return addresses on the stack,
   * or has the C library load what does: by its symbols, and true where they do not say.
   */
  mayUnwind(path: string): Promise<boolean>;
  features(): Promise<Features>;
  /** Takes milliseconds; asked again in the same process it has the same answer. */
  calibrate(
    features: Pick<
      Features,
      'uprobeMulti' | 'uprobeMultiThreads' | 'uprobeSession' | 'writesRegisters' | 'sleepable'
    >,
  ): Promise<Calibration>;
  load(options: LoadOptions): Promise<Programs>;
  /**
   * How far the stack pointer at the return of a kernel's function lies above that at its entry,
   * as programs of section "kprobe" see it; null where that cannot be tried.
   */
  kernelReturnDistance(multi: boolean): Promise<number | null>;
  /**
   * Arguments of functions of the kernel by its BTF, and what lies behind them: those of the paths
   * ("sk.__sk_common.skc_dport") that the functions have; "*" is every argument, but no text. With
   * `results` also what they return.
   */
  kernelValues(functions: string[], paths: string[], results: boolean): Promise<KernelValue[]>;
  /**
   * Reads a ring buffer, or perf buffers, on a thread of its own; each batch holds whole records, end
   * to end, in the order in which they were sent.
   */
  read(ring: BpfMap, options: ReaderOptions, onBatch: (batch: Buffer) => void): Reader;
  /** Switches run-time statistics of BPF programs on until closed. */
  enableRunTimeStatistics(): { close(): void };
  /**
   * BPF_UNSUPPORTED where the file system has no leases, or the file is open for writing;
   * BPF_NOT_PERMITTED where it is another user's and CAP_LEASE is missing.
   */
  leaseFile(path: string): Lease;
  /** Nanoseconds of CLOCK_REALTIME less those of CLOCK_MONOTONIC, taken as close together as can be. */
  clockOffset(): bigint;
  /**
   * Who opened the other end of a Unix socket, by our descriptor of it; null where it is none. The
   * pid is 0 if it belongs to a PID namespace that cannot be seen from here.
   */
  peerCredentials(descriptor: number): { pid: number; uid: number } | null;
}
