import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { promisify } from 'node:util';

const run = promisify(execFile);

const KINDS = { programs: 'prog', maps: 'map', links: 'link' } as const;

/** Ids of what the kernel holds of BPF. */
export type BpfObjects = Record<keyof typeof KINDS, Set<number>>;

/** Of one process, by its descriptors: others on the host may have their own. */
export function bpfObjectsOf(pid: number): BpfObjects {
  const objects: BpfObjects = { programs: new Set(), maps: new Set(), links: new Set() };
  const folder = `/proc/${pid}/fdinfo`;
  for (const descriptor of readdirSync(folder)) {
    const info = readInfo(`${folder}/${descriptor}`);
    for (const [kind, word] of Object.entries(KINDS)) {
      const id = new RegExp(`^${word}_id:\\s*(\\d+)$`, 'm').exec(info)?.[1];
      if (id !== undefined) objects[kind as keyof BpfObjects].add(Number(id));
    }
  }
  return objects;
}

/** Which of them the kernel still has. */
export async function stillThere(objects: BpfObjects): Promise<BpfObjects> {
  const left: BpfObjects = { programs: new Set(), maps: new Set(), links: new Set() };
  for (const [kind, word] of Object.entries(KINDS)) {
    const { stdout } = await run('bpftool', ['-j', word, 'list'], { maxBuffer: 64 << 20 });
    for (const { id } of JSON.parse(stdout) as { id: number }[]) {
      if (objects[kind as keyof BpfObjects].has(id)) left[kind as keyof BpfObjects].add(id);
    }
  }
  return left;
}

function readInfo(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // Closed since it was listed.
    return '';
  }
}
