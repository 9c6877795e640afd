/**
 * Where the threads of a process publish their context: in which thread-local variable, and how the
 * kernel finds that of the thread it runs on. docs/native-context.md says what is published there.
 */
import { statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Module, ModuleFacts, Native, ThreadLocal } from '../native/native.js';
import { mappedLibraries, moduleBias } from './mapped.js';
import { ProcessMemory, withMemory } from './memory.js';
import { Procfs } from './procfs.js';

export type ThreadContextFormat = 'otel' | 'elastic';

/** By variable name; the first that a process has counts. */
const FORMATS: readonly [ThreadContextFormat, string][] = [
  ['otel', 'otel_thread_ctx_v1'],
  ['elastic', 'elastic_apm_profiling_correlation_tls_v1'],
];

export type Libc = 'glibc' | 'musl';

export type ThreadContextPlace = { format: ThreadContextFormat } & (
  | { kind: 'static'; /** From the thread pointer. */ offset: number }
  | {
      kind: 'dynamic';
      /** Number of the module in each thread's table of TLS segments (DTV). */
      module: number;
      /** In that segment. */
      offset: number;
      libc: Libc;
    }
);

type Location =
  { kind: 'static'; offset: number } | { kind: 'dynamic'; module: number; offset: number };

/** What one file says of the variables. */
interface FileFacts {
  facts: ModuleFacts;
  variables: Map<ThreadContextFormat, ThreadLocal>;
}

interface Publisher extends FileFacts {
  pid: number;
  fileId: string;
  isExecutable: boolean;
}

const MOST_FILES = 4_096;
/** No program has as many modules, or as large a segment. */
const MOST_MODULES = 1 << 16;
const LARGEST_SEGMENT = 2 ** 31;
const LONGEST_WAIT_MS = 100;

export class ThreadContexts {
  /** By what a file is known by; a library is mapped by many processes. */
  private readonly files = new Map<string, Promise<FileFacts | null>>();
  private readonly native: Pick<Native, 'openModule'>;
  private readonly procfs: Procfs;

  constructor(native: Pick<Native, 'openModule'>, procfs = new Procfs()) {
    this.native = native;
    this.procfs = procfs;
  }

  /**
   * Null where no module that the process has mapped by now publishes anything. Throws what node:fs
   * throws where the process cannot be read.
   */
  async find(pid: number): Promise<ThreadContextPlace | null> {
    const executable = { file: this.procfs.path(pid, 'exe'), fileId: this.procfs.exeFileId(pid) };
    const publishers: Publisher[] = [];
    const add = async (file: string, fileId: string): Promise<FileFacts | null> => {
      const found = await this.look(file);
      const isExecutable = fileId === executable.fileId;
      if (found && found.variables.size > 0) {
        publishers.push({ pid, fileId, isExecutable, ...found });
      }
      return found;
    };
    const main = await add(executable.file, executable.fileId);
    for (const { file, fileId } of mappedLibraries(pid, this.procfs)) {
      if (fileId !== executable.fileId) await add(file, fileId);
    }
    if (!publishers.some(isDefiner)) return null;
    const libc = libcOf(main?.facts.interpreter ?? null);
    // It is mapped before the loader has filled in its words.
    for (let waitMs = 1; waitMs < LONGEST_WAIT_MS; waitMs *= 4) {
      const place = placeOf(publishers, libc);
      if (place) return place;
      await sleep(waitMs);
    }
    return placeOf(publishers, libc);
  }

  private look(path: string): Promise<FileFacts | null> {
    let key: string;
    try {
      const { dev, ino, size, mtimeNs } = statSync(path, { bigint: true });
      key = `${dev}:${ino}:${size}:${mtimeNs}`;
    } catch {
      return Promise.resolve(null);
    }
    let found = this.files.get(key);
    if (!found) {
      found = this.read(path);
      if (this.files.size >= MOST_FILES) this.files.clear();
      this.files.set(key, found);
    }
    return found;
  }

  /** Null for what is no module, or a broken one: whoever maps it has no context there. */
  private async read(path: string): Promise<FileFacts | null> {
    let module: Module;
    try {
      module = await this.native.openModule(path);
    } catch {
      return null;
    }
    try {
      const variables: FileFacts['variables'] = new Map();
      for (const [format, name] of FORMATS) {
        const variable = await module.threadLocal(name);
        if (variable) variables.set(format, variable);
      }
      return { facts: module.facts, variables };
    } catch {
      return { facts: module.facts, variables: new Map() };
    } finally {
      module.close();
    }
  }
}

/** By the loader's name: musl's is ld-musl-MACHINE.so.1, glibc's ld-linux-MACHINE.so.2 (or ld64). */
function libcOf(interpreter: string | null): Libc | null {
  const name = interpreter?.slice(interpreter.lastIndexOf('/') + 1) ?? '';
  if (name.startsWith('ld-musl-')) return 'musl';
  return name.startsWith('ld-linux') ? 'glibc' : null;
}

const isDefiner = ({ variables }: Publisher): boolean =>
  [...variables.values()].some(({ offset }) => offset !== null);

function placeOf(publishers: readonly Publisher[], libc: Libc | null): ThreadContextPlace | null {
  for (const [format] of FORMATS) {
    const location = locate(format, publishers);
    if (location?.kind === 'static') return { format, ...location };
    if (location && libc) return { format, ...location, libc };
  }
  return null;
}

function locate(format: ThreadContextFormat, publishers: readonly Publisher[]): Location | null {
  const having = publishers.filter(({ variables }) => variables.has(format));
  const offsetIn = (publisher: Publisher): number | null =>
    publisher.variables.get(format)?.offset ?? null;
  const definer = having.find((publisher) => offsetIn(publisher) !== null);
  if (!definer) return null;
  const offset = offsetIn(definer);
  if (definer.isExecutable && offset !== null) {
    return executableLocation(definer.facts, offset);
  }
  // What refers to the variable of another module has words of its own for it.
  for (const publisher of [definer, ...having.filter((each) => each !== definer)]) {
    const location = bySlots(publisher, publisher.variables.get(format));
    if (location) return location;
  }
  return null;
}

/** On x86-64 the executable's segment ends where the thread pointer points (TLS variant II). */
function executableLocation({ tls }: ModuleFacts, offset: number): Location | null {
  if (!tls) return null;
  const alignment = Math.max(1, tls.alignment);
  const { address, memorySize } = tls;
  // It begins at an address that is congruent to the one in the file.
  const padding = (alignment - ((address + memorySize) % alignment)) % alignment;
  return checkedStatic(offset - memorySize - padding);
}

const checkedStatic = (offset: number): Location | null =>
  offset < 0 && offset > -LARGEST_SEGMENT ? { kind: 'static', offset } : null;

const checkedDynamic = (module: bigint, offset: bigint | number): Location | null =>
  module > 0 && module < MOST_MODULES && offset >= 0 && offset < LARGEST_SEGMENT
    ? { kind: 'dynamic', module: Number(module), offset: Number(offset) }
    : null;

/** Reads what the loader has put into the module's words. Null: nothing yet. */
function bySlots(
  { pid, fileId, facts }: Publisher,
  variable: ThreadLocal | undefined,
): Location | null {
  const bias = moduleBias(pid, fileId, facts);
  if (bias === null || !variable) return null;
  return withMemory(ProcessMemory, `/proc/${pid}/mem`, (memory) => {
    for (const { kind, address } of variable.slots) {
      const location = bySlot(memory, kind, BigInt(bias) + BigInt(address), variable.offset);
      if (location) return location;
    }
    return null;
  });
}

function bySlot(
  memory: ProcessMemory,
  kind: ThreadLocal['slots'][number]['kind'],
  address: bigint,
  ownOffset: number | null,
): Location | null {
  const offsetAt = (at: bigint): Location | null =>
    checkedStatic(Number(memory.read(at, 8).readBigInt64LE()));
  /** struct tls_index of both C libraries: number of the module, offset in its segment. */
  const indexAt = (at: bigint): Location | null => {
    const index = memory.read(at, 16);
    return checkedDynamic(index.readBigUInt64LE(0), index.readBigUInt64LE(8));
  };
  try {
    switch (kind) {
      case 'offset':
        return offsetAt(address);
      case 'module':
        return indexAt(address);
      case 'own module':
        return ownOffset === null ? null : checkedDynamic(memory.word(address), ownOffset);
      case 'descriptor': {
        const argument = memory.word(address + 8n);
        // An offset from the thread pointer is negative. Else it points to an index; where older
        // versions of glibc have not resolved it yet, to something that can be none.
        const isOffset = argument >= 1n << 63n;
        return isOffset ? offsetAt(address + 8n) : argument > 0n ? indexAt(argument) : null;
      }
    }
  } catch {
    return null;
  }
}
