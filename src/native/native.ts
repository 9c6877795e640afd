/**
 * The addon's surface, and the only file that knows its shape. It reports facts about ELF
 * files and runs BPF objects; what to do with them is decided elsewhere.
 *
 * Every method that returns a Promise works off the JavaScript thread. Every failure is a
 * NativeError whose `code` is one of NativeErrorCode; input files are untrusted, so a broken
 * one is ELF_MALFORMED and never a crash. Addresses are those of the ELF file (p_vaddr), and
 * fit a JavaScript number (below 2^53); a file where they do not is ELF_MALFORMED.
 */
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

export interface Segment {
  address: number;
  offset: number;
  fileSize: number;
  memorySize: number;
  executable: boolean;
  writable: boolean;
}

export interface GoFacts {
  /** As the build info says it, such as "go1.26.8"; null where there is none. */
  version: string | null;
  /** Path of the main module, such as "example.com/shop"; null without build info. */
  mainModule: string | null;
  /** Versions by module path, the main module's included; empty without build info. */
  modules: Record<string, string>;
}

export interface ModuleFacts {
  path: string;
  /** Tells the file from any other, and from itself once it was written to. */
  stamp: string;
  /** NT_GNU_BUILD_ID in hex, or null. */
  buildId: string | null;
  /** ET_DYN: addresses are relative to where it is mapped. */
  positionIndependent: boolean;
  /** Of its own or in its debug file. */
  hasSymbols: boolean;
  hasDwarf: boolean;
  segments: Segment[];
  /** The dynamic loader that it asks for; null for a static program, and for most libraries. */
  interpreter: string | null;
  /** What each thread has a copy of; null: nothing. */
  tls: { address: number; memorySize: number; alignment: number } | null;
  /** Not null when this is a Go program (by build info or pclntab). */
  go: GoFacts | null;
}

/** Functions that have code of their own, by ascending address. Aliases are kept. */
export interface FunctionTable {
  /**
   * Names as the language writes them, joined by "\n": those of C++ and Rust demangled, with template
   * and generic arguments, without parameters, result and hash. Overloads share a name.
   */
  names: string;
  /** The same with parameters, where the language has them in its names; "" where it has not. */
  signatures: string;
  addresses: Float64Array;
  /** Bytes; 0 where unknown. */
  sizes: Float64Array;
  /** What each is (FunctionKind). */
  kinds: Uint8Array;
  /** Further ranges of functions, by their index here; each is listed for every alias. */
  parts: { functions: Float64Array; addresses: Float64Array; sizes: Float64Array };
  source: 'symtab' | 'dynsym' | 'pclntab';
}

export const FunctionKind = {
  FUNCTION: 0,
  /** What its address holds chooses the function, once, when the program is linked. */
  IFUNC: 1,
} as const;

/**
 * What one instruction does, as far as probing is concerned. `instructions()` returns, for each
 * function asked for, the whole prologue (its first 24 instructions) and after that only those
 * that are not OTHER, in a Buffer of records, each INSTRUCTION_SIZE bytes, little endian:
 *   u32 index of the function in the request
 *   u32 offset from the function's start
 *   u8  length
 *   u8  kind (InstructionKind)
 *   u8  flags (InstructionFlag bits)
 *   u8  of a CONDITIONAL: its condition code (the opcode's low four bits; NO_FLAGS for loop and
 *       jrcxz); of an INDIRECT_JUMP: JumpDetail
 *   u32 of a CALL: bit n is set if integer registers n and n + 1 of Go's ABI were stored side by side
 *       on the stack by the instructions right before it, as arguments are before a stack grows;
 *       bit 16 + n, that register n was stored, or its lower part
 *       of any other: InstructionEffect bits
 *   f64 target: address of a direct branch or call; of an INDIRECT_JUMP through a table the lowest
 *       that it leads to in the function's first part, if that is known; NaN otherwise
 * A function that does not decode to its very end gets one record of kind UNDECODABLE at the
 * offset where it stopped, and no others.
 */
export const INSTRUCTION_SIZE = 24;
export const InstructionKind = {
  OTHER: 0,
  /** ret, also with an immediate or a rep prefix. */
  RETURN: 1,
  /** Direct jmp. */
  JUMP: 2,
  /** Direct conditional jump, loop and jrcxz included. */
  CONDITIONAL: 3,
  /** jmp through a register or memory. */
  INDIRECT_JUMP: 4,
  CALL: 5,
  INDIRECT_CALL: 6,
  /** push of one 64-bit register. */
  PUSH: 7,
  /** One-byte nop (0x90). */
  NOP: 8,
  /** ud2, hlt, int3, int: control does not come back. */
  TRAP: 9,
  /** endbr64. */
  ENDBR: 10,
  /** cmp of a memory operand at 0x10(%r14), or at 0x18(%r14), with a register: Go's stack check. */
  STACK_CHECK: 11,
  UNDECODABLE: 255,
} as const;
export const InstructionFlag = {
  /** push %rbp. */
  FRAME_PUSH: 1,
  /** jbe: taken when CF or ZF is set. */
  BELOW_EQUAL: 2,
  /** The stack pointer is read or written in another way than by push, call or ret. */
  TOUCHES_STACK_POINTER: 4,
  /** The kernel emulates it inside the breakpoint (push reg, nop, jmp, jcc rel8/rel32, call rel32), without a single step. */
  EMULATED: 8,
  /** Writes r14. */
  WRITES_R14: 16,
  /** The nop of five bytes in whose place newer kernels put a call, so that there is no trap. */
  OPTIMIZED: 32,
} as const;

export const JumpDetail = {
  /** Perhaps within the function, perhaps out of it. */
  UNKNOWN: 0,
  /** Surely through a table of places in its function. */
  TABLE: 1,
  /** Through the GOT, and so surely to another function. */
  GOT: 2,
} as const;
/** The detail of a CONDITIONAL that the flags do not decide. */
export const NO_FLAGS = 255;
/**
 * What an instruction does besides. Bits 0 to 15 are the general registers that it writes, or
 * parts of, as instructions encode them: rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 to r15. Bits 19
 * to 31 are by how many words it moves the stack pointer, signed: -1 is a push.
 */
export const InstructionEffect = {
  REGISTERS: 0xffff,
  /** Some kernel refuses a probe on it. */
  NOT_PROBED: 1 << 16,
  /** It moves the stack pointer, and how far cannot be told. */
  STACK_UNKNOWN: 1 << 17,
  /** It writes memory, and not through the stack pointer. */
  WRITES_MEMORY: 1 << 18,
  STACK_SHIFT: 19,
} as const;

export interface Parameter {
  name: string;
  /** The type's name as DWARF has it: "context.Context", "*net/http.Request", "int". */
  type: string;
  /** Result parameters come after the others. */
  result: boolean;
  /**
   * Where Go's ABIInternal puts it: the words' integer registers in order of the ABI's sequence
   * (0 is RAX, 1 RBX, 2 RCX, 3 RDI, 4 RSI, 5 R8, 6 R9, 7 R10, 8 R11); floats count from 100.
   * Empty when it is on the stack.
   */
  registers: number[];
  /** Offset from the first stack argument (SP + 8 at entry); null when in registers. */
  stackOffset: number | null;
}

/** A parameter, or the result, of a function of C, C++ or Rust. */
export interface NativeParameter {
  /** Empty for the result, and for what the source gives no name. */
  name: string;
  /** Its type's id, for `nativeTypes()`. */
  type: string;
  result: boolean;
  /**
   * What of it is in registers, at the function's entry or, of the result, at its return: 0 RDI,
   * 1 RSI, 2 RDX, 3 RCX, 4 R8, 5 R9, 6 RAX, 7 RDX beside RAX; 100 and on the SSE registers.
   */
  pieces: { offset: number; size: number; register: number }[];
  /** Offset from the first stack argument (SP + 8 at entry); null when in registers. */
  stackOffset: number | null;
  /** Not the value is there, but its address. */
  isAddress: boolean;
  /** Why it cannot be read; null: it can. */
  problem: string | null;
}

export interface NativeFunction {
  language: 'c' | 'c++' | 'rust' | 'other';
  /** The result comes last; none of a function that returns nothing. */
  parameters: NativeParameter[];
}

export interface NativeField {
  /** Fields of Rust's tuples are "0", "1", … */
  name: string;
  type: string;
  offset: number;
  /** A base class, or an unnamed member. */
  embedded: boolean;
  /** A field of bits. */
  isBits: boolean;
}

/** A type of C, C++ or Rust, as DWARF describes it. */
export interface NativeType {
  id: string;
  /** As the source writes it, without namespaces: "const char *". */
  name: string;
  kind:
    | 'unknown'
    | 'void'
    | 'bool'
    | 'int'
    | 'uint'
    | 'float'
    | 'complex'
    | 'char'
    | 'pointer'
    | 'reference'
    | 'struct'
    | 'union'
    | 'array'
    | 'enum'
    | 'variant'
    | 'string'
    | 'slice'
    | 'func';
  size: number;
  isRust: boolean;
  /** Of an enum. */
  isSigned: boolean;
  /** What a pointer, reference, array or slice leads to. */
  element: string | null;
  count: number | null;
  fields: NativeField[];
  /** Of an enum. */
  names: { name: string; value: bigint }[];
  /** Of a variant (Rust's enum with data): what tells which it is. */
  discriminant: NativeField | null;
  /** `value` of the discriminant; null: all others. */
  variants: { name: string; value: bigint | null; type: string; offset: number }[];
  /** Of a string or slice: where its pointer and its length are. */
  pointerAt: number;
  lengthAt: number;
  /** Of kind unknown: why. */
  problem: string | null;
}

export interface Inlined {
  /** Name of the inlined function. */
  name: string;
  /** Functions whose code holds it, no more than 8. */
  into: string[];
  /** It has code of its own as well. */
  hasCode: boolean;
}

/** A Go type, as DWARF or the runtime's own type tables describe it. */
export interface GoType {
  /** With full package paths, as `parameters()` names it: "[]*net/http.Request". */
  name: string;
  kind:
    | 'bool'
    | 'int'
    | 'uint'
    | 'float'
    | 'complex'
    | 'string'
    | 'slice'
    | 'array'
    | 'map'
    | 'pointer'
    | 'struct'
    | 'interface'
    | 'func'
    | 'chan';
  /** Bytes. */
  size: number;
  /** Type of what a slice, array, channel, pointer or map holds. */
  element: string | null;
  /** Type of a map's keys. */
  key: string | null;
  /** Elements of an array. */
  count: number | null;
  /** Of a struct, in order. */
  fields: { name: string; type: string; offset: number; embedded: boolean }[];
  /** Names of the methods that an interface demands, where they are known. */
  methods: string[];
}

export interface InterfaceTable {
  /** The dynamic type as the symbol has it: "*context.valueCtx". */
  type: string;
  /** Address of the itab. */
  itab: number;
  /** Address of the runtime type it points to, relocations applied; null if it cannot be known. */
  typeAddress: number | null;
  /** Address of the interface's own runtime type (its first word); null if it cannot be known. */
  interfaceAddress: number | null;
}

/** A thread-local variable, as one module has it. */
export interface ThreadLocal {
  /** In the module's TLS segment; null: another module defines the variable. */
  offset: number | null;
  /**
   * Words in the module that the dynamic loader fills in. `descriptor`: two, of which the second is
   * the argument (TLSDESC); `module`: the number of the module that defines the variable, and its
   * offset there; `own module`: the number of this module alone; `offset`: from the thread pointer.
   */
  slots: { kind: 'descriptor' | 'module' | 'own module' | 'offset'; address: number }[];
}

export interface Module {
  readonly facts: ModuleFacts;
  functions(): Promise<FunctionTable>;
  /**
   * Records as described at INSTRUCTION_SIZE, grouped by function, ascending by offset. A function
   * in several parts is asked for by all of them: `owners` has for each the index of the first.
   */
  instructions(
    addresses: Float64Array,
    sizes: Float64Array,
    owners?: Float64Array,
  ): Promise<Buffer>;
  /** The instruction at each address, as assemblers write it; null where none can be decoded. */
  disassemble(addresses: Float64Array): Promise<(string | null)[]>;
  /**
   * For each function, by address: its parameters by DWARF; of methods by the runtime's type tables,
   * which know all of them but no names (those are empty without DWARF); null where neither knows it.
   */
  parameters(addresses: Float64Array): Promise<(Parameter[] | null)[]>;
  /** Functions of C, C++ and Rust by address; null where DWARF knows none there. */
  nativeFunctions(addresses: Float64Array): Promise<(NativeFunction | null)[]>;
  /** By id, as functions and other types have it. */
  nativeTypes(ids: string[]): Promise<NativeType[]>;
  /** Names of types with their namespaces: "std::io::error::Error". */
  nativeTypeNames(ids: string[]): Promise<string[]>;
  /** Bytes of a Go function's arguments, with the space they are saved in; null where unknown. */
  argumentBytes(addresses: Float64Array): Promise<(number | null)[]>;
  /**
   * Functions that DWARF knows to be inlined somewhere. Those that have code of their own too are
   * marked: calls of them are seen only in part.
   */
  inlined(): Promise<Inlined[]>;
  /**
   * Offset of a field in a struct type by DWARF, else by the runtime's type tables, in bytes; null
   * if unknown. Nested by ".": "sched.sp".
   */
  fieldOffsets(fields: { type: string; field: string }[]): Promise<(number | null)[]>;
  /** Address of the runtime type of a named Go type, by DWARF or the type tables; null if unknown. */
  runtimeTypes(names: string[]): Promise<(number | null)[]>;
  /** Descriptions by name; null where neither DWARF nor the runtime's type tables have the type. */
  describeTypes(names: string[]): Promise<(GoType | null)[]>;
  /** Of a thread's g, from the thread pointer; null where that cannot be told. */
  goThreadOffset(): Promise<number | null>;
  /** Names of the runtime types at these addresses; null where there is none. */
  typeNames(addresses: Float64Array): Promise<(string | null)[]>;
  /**
   * All itabs of one interface type, interfaceTables("context.Context"), by symbol or by the
   * runtime's own list.
   */
  interfaceTables(interfaceName: string): Promise<InterfaceTable[]>;
  /** Source positions of addresses, from DWARF or pclntab; null where unknown. */
  lines(addresses: Float64Array): Promise<({ file: string; line: number } | null)[]>;
  /** Null if the module neither defines the variable nor refers to it. */
  threadLocal(name: string): Promise<ThreadLocal | null>;
  close(): void;
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
  /** A nop of five bytes. */
  nopNs: number;
  moveNs: number;
  returnNs: number;
  /** Both ends of a call with a session probe, at a push. */
  sessionNs: number | null;
  /** A ret that the program carries out. */
  carriedOutNs: number | null;
  /** A hit on a push while another thread makes them too. */
  besideNs: number;
}

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
  /** Attaches a program of section raw_tp/NAME to its raw tracepoint. */
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
}

export interface Reader {
  /** Resolves when all that had been sent at the time of the call has been handed over. */
  drain(): Promise<void>;
  stop(): Promise<void>;
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
  path: string;
  /** Why it cannot be read; null: it can. */
  reason: string | null;
  /** Which argument, all of them being words. */
  register: number;
  /** As in struct value_plan. */
  steps: number[];
  kind: 'int' | 'uint' | 'bool' | 'pointer';
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
   * ("sk.__sk_common.skc_dport") that the functions have; "*" is every argument.
   */
  kernelValues(functions: string[], paths: string[]): Promise<KernelValue[]>;
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
