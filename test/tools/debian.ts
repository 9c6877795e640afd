/** Programs from Debian's packages, unpacked and not installed. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { projectRoot } from './go.js';

const run = promisify(execFile);
const cache = join(projectRoot, '.cache/debian');

/** The folder into which a package of a suite was unpacked. Rejects if it cannot be had. */
export async function debianPackage(suite: string, name: string): Promise<string> {
  const folder = join(cache, suite, name);
  if (existsSync(folder)) return folder;
  await mkdir(join(cache, suite), { recursive: true });
  const work = await mkdtemp(join(cache, suite, `${name}-`));
  try {
    await run(
      join(projectRoot, 'scripts/apt-suite'),
      [suite, 'apt-get', '-qq', '-o', 'APT::Sandbox::User=root', 'download', name],
      { cwd: work },
    );
    const [file] = await readdir(work);
    if (file === undefined) throw new Error(`${name} was not downloaded`);
    await run('dpkg', ['-x', file, 'root'], { cwd: work });
    await rename(join(work, 'root'), folder);
    return folder;
  } finally {
    await rm(work, { recursive: true });
  }
}
