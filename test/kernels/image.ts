/** The initramfs of the test machines: node, the built project and programs to trace. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { dirname, join } from 'node:path';

/** Where the project is on the test machine. */
const HOME = 'underspan';
const NOT_NEEDED = /\.(?:map|md|ts|mts|cts|tsbuildinfo)$/;

/** The shared libraries of an ELF file, the loader included, as this host resolves them. */
function libraries(file: string): string[] {
  const output = execFileSync('ldd', [file], { encoding: 'utf8' });
  if (output.includes('not found')) {
    throw new Error(`${file} lacks shared libraries:\n${output}`);
  }
  return [...output.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map((match) => match[1]!);
}

/** Folders of the packages that run time needs, relative to the root. */
function productionModules(root: string): string[] {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { dev?: boolean }>;
  };
  return Object.entries(lock.packages)
    .filter(([path, { dev }]) => path !== '' && !dev && existsSync(join(root, path)))
    .map(([path]) => path);
}

/** What the machines need of this host, by the Debian package that has it. */
const TOOLS = {
  'qemu-system-x86': '/usr/bin/qemu-system-x86_64',
  'busybox-static': '/bin/busybox',
  'g++': '/usr/bin/g++',
  cpio: '/usr/bin/cpio',
};

export function missingPackages(): string[] {
  return Object.entries(TOOLS).flatMap(([name, file]) => (existsSync(file) ? [] : [name]));
}

/** The Go that setup chose, else that of the host. */
function goCommand(root: string): string {
  const chosen = process.env['GO'] ?? join(root, '.cache/go/bin/go');
  return existsSync(chosen) ? chosen : 'go';
}

/** Builds the image in `cache` from the built project at `root`; returns the image's path. */
export function buildImage(root: string, cache: string): string {
  const stage = join(cache, 'stage');
  const image = join(cache, 'image.cpio');
  rmSync(stage, { recursive: true, force: true });
  const put = (from: string, to: string): void => {
    mkdirSync(dirname(join(stage, to)), { recursive: true });
    cpSync(from, join(stage, to), {
      recursive: true,
      dereference: true,
      filter: (source) => !NOT_NEEDED.test(source),
    });
  };

  put(TOOLS['busybox-static'], 'bin/busybox');
  put(process.execPath, 'usr/bin/node');
  const addon = join(root, 'build/Release/underspan.node');
  put(addon, join(HOME, 'build/Release/underspan.node'));
  for (const library of new Set([...libraries(process.execPath), ...libraries(addon)])) {
    put(library, library);
  }
  put(join(root, 'build/bpf'), join(HOME, 'build/bpf'));
  put(join(root, 'dist'), join(HOME, 'dist'));
  put(join(root, 'package.json'), join(HOME, 'package.json'));
  for (const path of productionModules(root)) {
    put(join(root, path), join(HOME, path));
  }
  for (const [name, target, mode] of [
    ['tiny', 'tiny', 'exe'],
    ['tiny-pie', 'tiny', 'pie'],
    ['shop', 'shop', 'exe'],
  ] as const) {
    const flags = ['-trimpath', '-buildvcs=false', `-buildmode=${mode}`];
    execFileSync(goCommand(root), ['build', ...flags, '-o', join(stage, name), '.'], {
      cwd: join(root, 'test/targets', target),
      env: { ...process.env, CGO_ENABLED: '0', GOTOOLCHAIN: 'local' },
      stdio: 'inherit',
    });
  }
  execFileSync('gcc', ['-O2', '-static', '-pthread', '-o', join(stage, 'syscalls'), 'syscalls.c'], {
    cwd: join(root, 'test/targets/syscalls'),
    stdio: 'inherit',
  });
  execFileSync('g++', [
    ...['-O2', '-static', '-o', join(stage, 'ends')],
    join(root, 'test/targets/native/ends.cc'),
  ]);
  execFileSync('gcc', [
    ...['-g', '-O2', '-static', '-pthread', '-o', join(stage, 'writes')],
    join(root, 'test/targets/native/writes.c'),
  ]);
  for (const name of ['waits', 'burn']) {
    execFileSync('gcc', [
      ...['-O1', '-static', '-pthread', '-o', join(stage, name)],
      join(root, `test/targets/native/${name}.c`),
    ]);
  }
  put(join(root, 'test/kernels/init'), 'init');
  chmodSync(join(stage, 'init'), 0o755);

  // Not compressed: to unpack it under emulation would cost more than to read it.
  execFileSync('/bin/sh', ['-c', 'find . | cpio --quiet -o -H newc -R 0:0 >"$1"', 'sh', image], {
    cwd: stage,
  });
  rmSync(stage, { recursive: true });
  return image;
}

export interface Kernel {
  /** 5.10, 6.1, 6.12 or newest. */
  name: string;
  release: string;
  image: string;
}

/** The kernels of that name, or all, fetched first if they are not here. */
export function kernels(root: string, cache: string, names: string[]): Kernel[] {
  execFileSync(join(root, 'scripts/fetch-kernels'), names, { stdio: 'inherit' });
  const present =
    names.length > 0
      ? names
      : readdirSync(cache).filter((name) => existsSync(join(cache, name, 'release')));
  return present
    .map((name) => ({
      name,
      release: readFileSync(join(cache, name, 'release'), 'utf8').trim(),
      image: join(cache, name, 'vmlinuz'),
    }))
    .sort((a, b) => a.release.localeCompare(b.release, 'en', { numeric: true }));
}
