/** What was found out about this host and holds until it boots again, in a file that only root writes. */
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { cpus, release } from 'node:os';
import { join } from 'node:path';
import { makeDirectory } from '../make-directory.js';

const DIRECTORY = '/run/underspan';
const LARGEST = 4 << 20;
const SUFFIX = '.json';

/** What must be the same for a finding to hold. */
export interface Boot {
  id: string;
  kernel: string;
  cpu: string;
}

export function currentBoot(procRoot = '/proc'): Boot | null {
  try {
    const id = readFileSync(join(procRoot, 'sys/kernel/random/boot_id'), 'utf8').trim();
    return { id, kernel: release(), cpu: cpus()[0]?.model ?? '' };
  } catch {
    return null;
  }
}

export class BootCache {
  constructor(
    private readonly directory = process.env['UNDERSPAN_CACHE_DIR'] ?? DIRECTORY,
    private readonly boot = currentBoot(),
  ) {}

  /** Null where nothing is known that this boot, with these circumstances, has found. */
  read(name: string, circumstances: unknown): unknown {
    if (!this.boot) return null;
    try {
      const { of, found } = JSON.parse(readOwn(this.pathOf(name))) as {
        of: unknown;
        found: unknown;
      };
      return JSON.stringify(of) === this.key(circumstances) ? (found ?? null) : null;
    } catch {
      // It is not there, somebody else's, or broken: it will be found out again.
      return null;
    }
  }

  /** Whether it could be kept. */
  write(name: string, circumstances: unknown, found: unknown): boolean {
    if (!this.boot) return false;
    const path = this.pathOf(name);
    const unfinished = `${path}.${randomBytes(6).toString('hex')}`;
    try {
      // Whatever the umask is: the agent's socket lies there too.
      if (makeDirectory(this.directory)) chmodSync(this.directory, 0o755);
      const of: unknown = JSON.parse(this.key(circumstances));
      const text = `${JSON.stringify({ of, found })}\n`;
      if (text.length > LARGEST) return false;
      writeFileSync(unfinished, text, { mode: 0o600, flag: 'wx' });
      renameSync(unfinished, path);
      return true;
    } catch {
      // Where nothing can be kept it is found out at each start.
      removeFile(unfinished);
      return false;
    }
  }

  remove(name: string): void {
    removeFile(this.pathOf(name));
  }

  /** Findings whose names begin so, of whatever boot. */
  names(prefix: string): string[] {
    try {
      return readdirSync(this.directory)
        .filter((file) => file.startsWith(prefix) && file.endsWith(SUFFIX))
        .map((file) => file.slice(0, -SUFFIX.length));
    } catch {
      return [];
    }
  }

  /** Of the findings whose names begin so, keeps those that were written last. */
  prune(prefix: string, most: number): void {
    try {
      const found = readdirSync(this.directory)
        .filter((file) => file.startsWith(prefix))
        .map((file) => join(this.directory, file))
        .map((path) => ({ path, writtenAt: statSync(path).mtimeMs }))
        .sort((a, b) => b.writtenAt - a.writtenAt);
      for (const { path } of found.slice(most)) rmSync(path, { force: true });
    } catch {
      // Another does the same at this moment.
    }
  }

  pathOf(name: string): string {
    return join(this.directory, name + SUFFIX);
  }

  private key(circumstances: unknown): string {
    return JSON.stringify({ boot: this.boot, circumstances });
  }
}

function removeFile(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // It is not this user's to remove, or no path of a file.
  }
}

/** Reads a file that nobody but root, or this user, can have written. */
function readOwn(path: string): string {
  const descriptor = openSync(
    path,
    constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
  );
  try {
    const stat = fstatSync(descriptor);
    const own = stat.uid === 0 || stat.uid === process.geteuid?.();
    if (!stat.isFile() || !own || (stat.mode & 0o022) !== 0 || stat.size > LARGEST) {
      throw new Error(`${path} is not what was written there`);
    }
    return readFileSync(descriptor, 'utf8');
  } finally {
    closeSync(descriptor);
  }
}
