/** What the files of container engines say of a container. Nobody is asked. */
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import type { CgroupPlace } from '../cgroup.js';
import { findContainerd } from './containerd.js';
import { findCrio } from './crio.js';
import { findDocker } from './docker.js';
import type { Found } from './found.js';

const MOST_KNOWN = 2_048;
/** The files may be written after the process was started, or the right to read them come later. */
const UNKNOWN_FOR_MS = 10_000;

/** Docker's record says more than the bundle that containerd has for it. */
const ENGINES = [findDocker, findContainerd, findCrio];

const ID = /^(?:[0-9a-f]{64}|[0-9a-f]{32}-\d{1,20})$/;

interface Known {
  found: Found;
  /** When to look again; Infinity for what an engine has said. */
  until: number;
}

export class Containers {
  /** By id; the least recently used first. */
  private readonly known = new Map<string, Known>();

  constructor(
    private readonly root: string,
    private readonly now: () => number = () => performance.now(),
  ) {}

  /** `around`: root directory of an engine that runs in a container itself, if there is one. */
  of(id: string, runtime: CgroupPlace['runtime'], around: () => string | null = none): Found {
    let known = this.known.get(id);
    if (!known || known.until <= this.now()) {
      const found = this.read(id, this.root) ?? this.read(id, around());
      known = found
        ? { found, until: Infinity }
        : { found: nothing(id, runtime), until: this.now() + UNKNOWN_FOR_MS };
    }
    this.known.delete(id);
    this.known.set(id, known);
    if (this.known.size > MOST_KNOWN) this.known.delete(this.known.keys().next().value as string);
    return known.found;
  }

  private read(id: string, root: string | null): Found | null {
    // The id becomes part of a path.
    if (root === null || !ID.test(id)) return null;
    for (const find of ENGINES) {
      const found = find(root, id);
      if (found) return found;
    }
    return null;
  }
}

const none = (): null => null;

const nothing = (id: string, runtime: CgroupPlace['runtime']): Found => ({
  container: { id, runtime: runtime ?? 'unknown', image: null, name: null },
  pod: null,
});

/** An agent in a container sees the host's files as the host's first process does. */
export function hostRoot(procfs = '/proc'): string {
  const root = join(procfs, '1/root');
  try {
    accessSync(`${root}/`, constants.R_OK);
    return root;
  } catch {
    return '/';
  }
}
