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

/** Where packages have their libraries. */
const LIBRARIES = ['usr/lib/x86_64-linux-gnu', 'lib/x86_64-linux-gnu'];

/**
 * LD_LIBRARY_PATH for unpacked programs: empty where the host has all that they need, else with
 * the libraries of `packages`. Rejects if those do not suffice.
 */
export async function debianLibraries(
  suite: string,
  programs: readonly string[],
  packages: readonly string[],
): Promise<string> {
  if ((await missingLibraries(programs, '')) === null) return '';
  const folders: string[] = [];
  for (const name of packages) folders.push(await debianPackage(suite, name));
  const path = folders.flatMap((folder) => LIBRARIES.map((each) => join(folder, each))).join(':');
  const missing = await missingLibraries(programs, path);
  if (missing !== null) throw new Error(`no package has a library: ${missing}`);
  return path;
}

/** What the dynamic linker says of the first that it does not find; null: it finds all. */
async function missingLibraries(programs: readonly string[], path: string): Promise<string | null> {
  const env = { ...process.env, LD_LIBRARY_PATH: path };
  const { stdout, stderr } = await run('ldd', programs, { env });
  const missing = `${stdout}${stderr}`.split('\n').find((line) => line.includes('not found'));
  return missing?.trim() ?? null;
}
