import { readFileSync } from 'node:fs';
import type { ModuleFacts } from '../native/native.js';

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
