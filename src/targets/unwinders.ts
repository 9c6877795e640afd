/** Whether a process has code that looks for return addresses on its stacks. */
import { statSync } from 'node:fs';
import type { Native } from '../native/native.js';
import type { Procfs } from './procfs.js';
import { stampOf } from './open-file.js';

/** Files whose answer is remembered. */
const MOST_KNOWN = 10_000;

export class Unwinders {
  /** By file, as it was then. */
  private readonly known = new Map<string, Promise<boolean>>();

  constructor(
    private readonly native: Pick<Native, 'mayUnwind'>,
    private readonly procfs: Procfs,
  ) {}

  /** Of what the process has mapped now; true also where that cannot be read. */
  async in(pid: number): Promise<boolean> {
    let maps: string;
    try {
      maps = this.procfs.read(pid, 'maps');
    } catch {
      return true;
    }
    const files = new Map<string, string>();
    for (const line of maps.split('\n')) {
      const [, inode = '', path = ''] = /^\S+ ..x. \S+ \S+ (\d+)\s+(\/.*)$/.exec(line) ?? [];
      if (path !== '') files.set(path, inode);
    }
    const answers = [...files].map(([path, inode]) =>
      this.ask(this.procfs.path(pid, `root${path}`), inode),
    );
    return files.size === 0 || (await Promise.all(answers)).includes(true);
  }

  private ask(file: string, inode: string): Promise<boolean> {
    let key: string;
    try {
      const { dev, ino } = statSync(file, { bigint: true });
      // Deleted or replaced since, so that nobody can say what the process has mapped.
      if (String(ino) !== inode) return Promise.resolve(true);
      key = `${dev}:${ino} ${stampOf(file)}`;
    } catch {
      return Promise.resolve(true);
    }
    const known = this.known.get(key);
    if (known) return known;
    const answer = this.native.mayUnwind(file).catch(() => true);
    this.known.set(key, answer);
    const [oldest] = this.known.keys();
    if (this.known.size > MOST_KNOWN && oldest !== undefined) this.known.delete(oldest);
    return answer;
  }
}
