/** BPF objects that are loaded: their programs, maps and links, and the reader of their records. */

export interface LoadOptions {
  /** Path of the compiled object. */
  object: string;
  /** Written over the variable `settings`, or `*_settings`, in .rodata; its size must agree. */
  settings?: Buffer;
  /**
   * By map name: another size, or an existing map to use in its place; of a ring also perf buffers,
   * one for each CPU.
   */
  maps?: Record<string, { maxEntries?: number; reuse?: BpfMap; perfBuffers?: boolean }>;
  /** How the object's uprobe programs (sections "uprobe", "uprobe/session") will be attached. */
  attach: 'multi' | 'perf';
  /** Load uprobe programs as sleepable. */
  sleepable: boolean;
  /** Programs of section "kprobe" will be attached with kprobe.multi; false: one by one. */
  kprobeMulti?: boolean;
  /** The kernel's function that programs of sections "fentry" and "fexit" are for. */
  kernelFunction?: string;
  /** Only these programs; the others are not loaded. */
  programs?: string[];
}

export interface UprobeSites {
  /** The file that carries the sites; may be /proc/PID/root/... or /proc/PID/exe. */
  path: string;
  /** Only this process; null: every process that maps the file. */
  pid: number | null;
  /** File offsets. */
  offsets: Float64Array;
  /** As many; delivered by bpf_get_attach_cookie where the kernel has it. */
  cookies: Float64Array;
}

export interface KernelSites {
  /** Of functions' first instructions, as /proc/kallsyms has them. */
  addresses: BigUint64Array;
  /** As many; delivered by bpf_get_attach_cookie where the kernel has it. */
  cookies: Float64Array;
  /** The program runs when the functions return. */
  returns: boolean;
}

export interface ProgramRunTime {
  program: string;
  runTimeNs: number;
  runCount: number;
  /** Runs that the kernel skipped because the program was already running. */
  recursionMisses: number;
}

export interface Link {
  readonly sites: number;
  detach(): Promise<void>;
}

export interface Programs {
  /** Attaches one program to many sites, all or none. */
  attachUprobes(program: string, sites: UprobeSites): Promise<Link>;
  /**
   * Attaches a program to functions of the kernel, all or none: one of section "kprobe" to any
   * number, one of "fentry" or "fexit" to that which it was loaded for.
   */
  attachKernel(program: string, sites: KernelSites): Promise<Link>;
  /** Attaches a program of section raw_tp/NAME or tp_btf/NAME to its raw tracepoint. */
  attachTracepoint(program: string): Promise<Link>;
  map(name: string): BpfMap;
  runTimes(): ProgramRunTime[];
  /** Closes programs and maps; links must have been detached. */
  close(): void;
}

export interface BpfMap {
  readonly name: string;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  lookup(key: Buffer): Buffer | null;
  update(key: Buffer, value: Buffer): void;
  /** False: there is no such element. */
  replace(key: Buffer, value: Buffer): boolean;
  /** Many at once: keys and values laid end to end. */
  updateMany(keys: Buffer, values: Buffer): void;
  delete(key: Buffer): boolean;
  /** How many elements a hash map has; one that changes meanwhile is counted about right. */
  count(): Promise<number>;
  /** All elements, keys and values laid end to end. */
  entries(): Promise<{ keys: Buffer; values: Buffer }>;
  /** A copy of elements [first, first + count) of an array map, laid end to end. */
  read(first: number, count: number): Buffer;
  /**
   * Of an array map: the 64-bit numbers at `offset` in its elements, summed over `group` elements at
   * a time, of the first `count` groups; exact up to 2^53. Without a system call.
   */
  sums(offset: number, count: number, group: number): Float64Array;
}

export interface ReaderOptions {
  /** Of perf buffers: bytes of all CPUs together. A ring has the size of its map. */
  perfBytes?: number;
  /** How often is looked while records come; it slows down by itself when idle. ms */
  intervalMs: number;
  /** Largest batch. Bytes. */
  batchBytes: number;
  /** Batches handed to JavaScript and not yet taken; beyond it records are left to pile up. */
  maxPending: number;
  /** The first 32 bits of an array that can be mapped; watchFlag() says when `onSet` is called. */
  flag?: { map: BpfMap; onSet: () => void };
}

export interface Reader {
  /** Resolves when all that had been sent at the time of the call has been handed over. */
  drain(): Promise<void>;
  /**
   * `onSet` is called once, in order with the batches, when the reader finds the flag not to be 0: it
   * looks at it as often as for records.
   */
  watchFlag(): void;
  stop(): Promise<void>;
}
