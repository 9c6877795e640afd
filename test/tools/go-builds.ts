/** Go's versions, and the ways in which people build: what the matrix test is made of. */
import { execFile } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { promisify } from 'node:util';
import { buildTarget } from './go.js';

const run = promisify(execFile);

/** The last release of each version that the Go command can fetch. */
export const GO_RELEASES = [
  '1.18.10',
  '1.19.13',
  '1.20.14',
  '1.21.13',
  '1.22.10',
  '1.23.4',
  '1.24.4',
  '1.25.5',
  '1.26.8',
  '1.27.3',
] as const;

export interface GoBuild {
  name: string;
  flags: string[];
  env?: Record<string, string>;
  /** By the strip command, after the linker. */
  strip?: boolean;
}

const EXTERNAL = { CGO_ENABLED: '1' };

export const GO_BUILDS: readonly GoBuild[] = [
  { name: 'default', flags: [] },
  { name: '-s -w', flags: ['-ldflags=-s -w'] },
  { name: 'pie', flags: ['-buildmode=pie'] },
  { name: 'strip', flags: [], strip: true },
  { name: 'pie, strip', flags: ['-buildmode=pie'], strip: true },
  { name: 'no cgo', flags: [], env: { CGO_ENABLED: '0' } },
  { name: 'external', flags: ['-ldflags=-linkmode=external'], env: EXTERNAL },
  { name: 'external, strip', flags: ['-ldflags=-linkmode=external'], env: EXTERNAL, strip: true },
  {
    name: 'static-pie',
    flags: ['-buildmode=pie', '-ldflags=-linkmode=external -extldflags=-static-pie'],
    env: EXTERNAL,
  },
];

/**
 * Builds test/targets/NAME that way; `modfile` stands in for its go.mod. Rejects with what the
 * toolchain says.
 */
export async function buildVariant(
  name: string,
  release: string,
  build: GoBuild,
  modfile = Number(release.split('.')[1]) >= 26 ? 'newest.mod' : 'go.mod',
): Promise<string> {
  const binary = await buildTarget(name, {
    flags: [...build.flags, `-modfile=${modfile}`],
    env: { GOTOOLCHAIN: `go${release}`, ...build.env },
  });
  if (!build.strip) return binary;
  const stripped = `${binary}.stripped`;
  // The binary is built anew in its place where its source has changed.
  if (existsSync(stripped) && statSync(stripped).mtimeMs >= statSync(binary).mtimeMs) {
    return stripped;
  }
  await run('strip', ['-o', `${stripped}.new`, binary]);
  await rename(`${stripped}.new`, stripped);
  return stripped;
}
