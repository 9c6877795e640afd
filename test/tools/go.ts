import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** The checkout; this file runs from dist/test/tools. */
export const projectRoot = fileURLToPath(new URL('../../../', import.meta.url));

const cache = join(projectRoot, '.cache/targets');

export interface BuildOptions {
  /** Flags of `go build`, such as -ldflags=-s -w; each set of them is a binary of its own. */
  flags?: string[];
  /** The go command; default is the one that setup has put into .cache, else the one in PATH. */
  go?: string;
  env?: Record<string, string>;
}

export function goCommand(): string {
  const own = join(projectRoot, '.cache/go/bin/go');
  return existsSync(own) ? own : 'go';
}

// By what was asked for: tests of one file that run side by side wait for the same build.
const builds = new Map<string, Promise<string>>();

/** Builds test/targets/NAME, unless that has been done before. Returns the binary's path. */
export function buildTarget(name: string, options: BuildOptions = {}): Promise<string> {
  const key = JSON.stringify([name, options]);
  let built = builds.get(key);
  if (!built) {
    built = build(name, options);
    builds.set(key, built);
  }
  return built;
}

async function build(name: string, options: BuildOptions): Promise<string> {
  const source = join(projectRoot, 'test/targets', name);
  const go = options.go ?? goCommand();
  const flags = ['-trimpath', '-buildvcs=false', ...(options.flags ?? [])];
  const env = { ...process.env, GOFLAGS: '-mod=readonly', ...options.env };

  const variant = createHash('sha256');
  variant.update(JSON.stringify([go, flags, options.env ?? {}]));
  const binary = join(cache, `${name}-${variant.digest('hex').slice(0, 8)}`);
  const { stdout: version } = await run(go, ['version'], { cwd: source, env });
  const stamp = `${version.trim()} ${await hashOfSources(source)}\n`;
  if (existsSync(binary) && (await readStamp(`${binary}.stamp`)) === stamp) return binary;

  await mkdir(cache, { recursive: true });
  // Test files run at the same time: build aside, then put it there in one step.
  const aside = `${binary}.${process.pid}`;
  await run(go, ['build', ...flags, '-o', aside, '.'], { cwd: source, env });
  await rename(aside, binary);
  await writeFile(`${aside}.stamp`, stamp);
  await rename(`${aside}.stamp`, `${binary}.stamp`);
  return binary;
}

async function readStamp(path: string): Promise<string | null> {
  return existsSync(path) ? readFile(path, 'utf8') : null;
}

async function hashOfSources(folder: string): Promise<string> {
  const hash = createHash('sha256');
  const names = await readdir(folder, { recursive: true });
  for (const name of names.sort()) {
    if (!/\.(go|s|c|h|mod|sum)$/.test(name)) continue;
    hash.update(`${name}\0`).update(await readFile(join(folder, name)));
  }
  return hash.digest('hex');
}
