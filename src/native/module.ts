/** What the addon knows of one ELF file. */

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
  /** Of a field of bits: which they are, from the lowest one of the byte at `offset`; else null. */
  bits: { offset: number; size: number } | null;
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
  /** Of a string: short text lies in itself, as libc++ keeps it. */
  holdsShort: boolean;
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
