import { readFileSync, statSync } from 'node:fs';
import type { ModuleFacts } from '../native/native.js';
import type { Procfs } from './procfs.js';
import type { Target } from './target.js';

/**
 * Files with code that a process has mapped, its executable included. Those whose path no longer
 * leads to them are left out: they cannot be opened without more rights.
 */
export function mappedLibraries(
  pid: number,
  procfs: Procfs,
): Pick<Target, 'exe' | 'file' | 'fileId'>[] {
  let maps: string;
  try {
    maps = procfs.read(pid, 'maps');
  } catch {
    return []; // It has ended.
  }
  const found = new Map<string, Pick<Target, 'exe' | 'file' | 'fileId'>>();
  for (const line of maps.split('\n')) {
    const match = /^\S+ ..x. \S+ \S+ (\d+)\s+(\/.*)$/.exec(line);
    const [, inode = '', exe = ''] = match ?? [];
    if (exe === '' || found.has(exe)) continue;
    const file = procfs.path(pid, `root${exe}`);
    try {
      const { dev, ino } = statSync(file, { bigint: true });
      if (String(ino) === inode) found.set(exe, { exe, file, fileId: `${dev}:${ino}` });
    } catch {
      // Deleted or replaced since.
    }
  }
  return [...found.values()];
}

/**
 * Where a process has a module, less where its file says: 0 unless it is position independent.
 * Null if it is not mapped, as before an exec. Throws what node:fs throws.
 */
export function moduleBias(pid: number, fileId: string, facts: ModuleFacts): number | null {
  if (!facts.positionIndependent) return 0;
  // Overlay file systems report another device here than stat does, so the inode has to do.
  const inode = fileId.slice(fileId.indexOf(':') + 1);
  for (const line of readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')) {
    const [range = '', , offset = '', , mapped] = line.split(/\s+/);
    if (mapped !== inode) continue;
    const at = parseInt(offset, 16);
    const segment = facts.segments.find(
      (each) => at <= each.offset && each.offset < at + 4_096 && each.memorySize > 0,
    );
    if (segment) return parseInt(range, 16) - at - (segment.address - segment.offset);
  }
  return null;
}
