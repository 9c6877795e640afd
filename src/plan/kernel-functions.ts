/** The functions of the running kernel, as it lists them itself. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { UnderspanError } from '../errors.js';

export interface KernelFunctions {
  names: string[];
  /**
   * Of their first instructions, as signed numbers of 64 bits: the kernel lies at the very end of
   * the address space, and only so do its addresses fit a JavaScript number.
   */
  addresses: Float64Array;
  /** Those that ftrace, and with it kprobe.multi and fentry, can reach; null: not to be known. */
  hooked: ReadonlySet<string> | null;
  /** Those that must not carry a kprobe. */
  forbidden: ReadonlySet<string>;
}

/** What the compiler and the linker put beside functions. */
const NO_FUNCTION = /^(?:__pfx_|__cfi_|__SC[KT]__|__ksymtab_|__kstrtab)|\.cold(?:\.|$)/;

export const addressOf = (signed: number): bigint => BigInt.asUintN(64, BigInt(signed));

/** Throws an UnderspanError where the kernel hides them. */
export function readKernelFunctions(root = '/'): KernelFunctions {
  const names: string[] = [];
  const addresses: number[] = [];
  let first = 0;
  let last = 0;
  for (const line of readFileSync(join(root, 'proc/kallsyms'), 'utf8').split('\n')) {
    // "ffffffff81000000 T name", and "\t[module]" where it belongs to one.
    const [digits = '', type = '', name = ''] = line.split(/[\s]/, 3);
    const address = Number(BigInt.asIntN(64, BigInt(`0x${digits || '0'}`)));
    if (name === '_sinittext') first = address;
    if (name === '_einittext') last = address;
    if (!/^[tTwW]$/.test(type) || NO_FUNCTION.test(name)) continue;
    names.push(name);
    addresses.push(address);
  }
  if (addresses.every((address) => address === 0)) throw hidden();
  // The kernel forgets these once it is up.
  const stays = addresses.map((address) => address < first || address >= last);
  return {
    names: names.filter((_, index) => stays[index]),
    addresses: Float64Array.from(addresses.filter((_, index) => stays[index])),
    hooked: firstWords(
      join(root, 'sys/kernel/tracing/available_filter_functions'),
      join(root, 'sys/kernel/debug/tracing/available_filter_functions'),
    ),
    // "0xffffffff81000000-0xffffffff81000010\tname"
    forbidden: firstWords(join(root, 'sys/kernel/debug/kprobes/blacklist')) ?? new Set(),
  };
}

/** Names in the first of the files that can be read: a line's first word that is no address. */
function firstWords(...paths: string[]): Set<string> | null {
  for (const path of paths) {
    try {
      const lines = readFileSync(path, 'utf8').split('\n');
      return new Set(
        lines.map(
          (line) => line.split(/\s/).find((word) => word !== '' && !/^0x/.test(word)) ?? '',
        ),
      );
    } catch {
      // Not mounted, or not for us.
    }
  }
  return null;
}

const hidden = (): UnderspanError =>
  new UnderspanError(
    'not-permitted',
    'KERNEL_ADDRESSES_HIDDEN',
    'the addresses of functions of the kernel cannot be read: /proc/kallsyms hides them',
    'run as root, or with CAP_SYSLOG; kernel.kptr_restrict=2 hides them from everyone',
  );
