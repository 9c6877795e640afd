/** The memory of a process, as far as it lets this user read it. Nothing in it is trusted. */
import { closeSync, openSync, readSync } from 'node:fs';

export class ProcessMemory {
  constructor(private readonly file: number) {}

  /** Throws where not all of it is mapped. */
  read(address: bigint, size: number): Buffer {
    const buffer = Buffer.alloc(size);
    if (readSync(this.file, buffer, 0, size, address) !== size) {
      throw new Error(`0x${address.toString(16)} is not mapped`);
    }
    return buffer;
  }

  word(address: bigint): bigint {
    return this.read(address, 8).readBigUInt64LE();
  }
}

/** `path` is that of /proc/PID/mem. Throws what node:fs throws, and what `use` throws. */
export function withMemory<M extends ProcessMemory, T>(
  Memory: new (file: number) => M,
  path: string,
  use: (memory: M) => T,
): T {
  const file = openSync(path, 'r');
  try {
    return use(new Memory(file));
  } finally {
    closeSync(file);
  }
}
