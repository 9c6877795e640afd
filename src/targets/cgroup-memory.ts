/** How much more memory the control groups of a process let it have. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { UnderspanError } from '../errors.js';
import type { Procfs } from './procfs.js';

/** A control group with a limit. */
export interface MemoryGroup {
  /** Its directory. */
  path: string;
  /** Bytes that its processes may still have. */
  room: number;
}

interface Version {
  /** In which line of /proc/PID/cgroup it is. */
  line: RegExp;
  /** By its mount's type and options. */
  isMount: (type: string, options: string) => boolean;
  usage: string;
  limits: string[];
  /** Of memory.stat: what the kernel takes back before anybody notices. */
  reclaimable: string;
}

const VERSIONS: Version[] = [
  {
    line: /^0::(.*)$/m,
    isMount: (type) => type === 'cgroup2',
    usage: 'memory.current',
    // Beyond the second the group is slowed down, which is no better.
    limits: ['memory.max', 'memory.high'],
    reclaimable: 'inactive_file',
  },
  {
    line: /^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(.*)$/m,
    isMount: (type, options) => type === 'cgroup' && options.split(',').includes('memory'),
    usage: 'memory.usage_in_bytes',
    limits: ['memory.limit_in_bytes'],
    reclaimable: 'total_inactive_file',
  },
];

/** Version 1 writes a number like this for no limit. */
const NO_LIMIT = 2 ** 60;

/** Groups that limit a process, from its own upwards; none where that cannot be seen from here. */
export function memoryGroups(pid: number, procfs: Procfs, root = '/'): MemoryGroup[] {
  const mounts = text(join(procfs.root, 'self/mountinfo'));
  const places = text(procfs.path(pid, 'cgroup'));
  return VERSIONS.flatMap((version) => {
    const path = version.line.exec(places)?.[1];
    const mount = mountOf(mounts, version);
    if (path === undefined || !mount) return [];
    return groupsAbove(join(root, mount.at), within(path, mount.root), version);
  });
}

/** Where a hierarchy is mounted, and which of its groups is seen there. */
function mountOf(mounts: string, { isMount }: Version): { at: string; root: string } | null {
  for (const line of mounts.split('\n')) {
    const [before = '', after = ''] = line.split(' - ');
    const [, , , mountRoot, at] = before.split(' ');
    const [type = '', , options = ''] = after.split(' ');
    if (at !== undefined && mountRoot !== undefined && isMount(type, options)) {
      return { at, root: mountRoot };
    }
  }
  return null;
}

/** Null: it lies outside of what is mounted. */
function within(path: string, root: string): string[] | null {
  const parts = (of: string): string[] => of.split('/').filter((part) => part !== '');
  const above = parts(root);
  const own = parts(path);
  if (own.includes('..') || above.some((part, index) => own[index] !== part)) return null;
  return own.slice(above.length);
}

function groupsAbove(mount: string, parts: string[] | null, version: Version): MemoryGroup[] {
  if (!parts) return [];
  const groups: MemoryGroup[] = [];
  for (let depth = parts.length; depth >= 0; depth--) {
    const path = join(mount, ...parts.slice(0, depth));
    const room = roomIn(path, version);
    if (room !== null) groups.push({ path, room });
  }
  return groups;
}

/** Null where it has no limit, as the outermost has none. */
function roomIn(path: string, { usage, limits, reclaimable }: Version): number | null {
  const used = number(text(join(path, usage)));
  const allowed = limits
    .map((limit) => number(text(join(path, limit))))
    .filter((limit): limit is number => limit !== null && limit < NO_LIMIT);
  if (used === null || allowed.length === 0) return null;
  const field = new RegExp(`^${reclaimable} (\\d+)$`, 'm');
  const cached = number(field.exec(text(join(path, 'memory.stat')))?.[1] ?? '') ?? 0;
  return Math.max(0, Math.min(...allowed) - Math.max(0, used - cached));
}

const number = (given: string): number | null =>
  /^\d+$/.test(given.trim()) ? Number(given.trim()) : null;

function text(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** Private memory that probes will make a process have. */
export interface MemoryNeed {
  pid: number;
  bytes: number;
}

/** Why these processes should not get their probes; null: there is room. */
export function memoryShortage(
  needs: readonly MemoryNeed[],
  groupsOf: (pid: number) => MemoryGroup[],
): UnderspanError | null {
  const groups = new Map<string, { room: number; bytes: number; pids: number[] }>();
  for (const { pid, bytes } of needs) {
    for (const { path, room } of groupsOf(pid)) {
      const group = groups.get(path) ?? { room, bytes: 0, pids: [] };
      group.bytes += bytes;
      group.pids.push(pid);
      groups.set(path, group);
    }
  }
  for (const [path, { room, bytes, pids }] of groups) {
    if (bytes > room) return shortage(path, room, bytes, pids);
  }
  return null;
}

const kib = (bytes: number): string => `${Math.floor(bytes / 1_024).toLocaleString('en')} KiB`;

function shortage(path: string, room: number, bytes: number, pids: number[]): UnderspanError {
  const whose = pids.length === 1 ? `process ${pids[0]}` : `${pids.length} processes`;
  return new UnderspanError(
    'failed',
    'NO_MEMORY_FOR_PROBES',
    `probes would make ${kib(bytes)} of program text private memory of ${whose}, and the control group ${path} has room for ${kib(room)}`,
    'narrow the patterns, so that fewer pages carry probes, or raise the memory limit of the group',
  );
}
