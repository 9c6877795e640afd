/** Where the dynamic linker would look for a library, for a command that does not run yet. */
import { closeSync, openSync, readdirSync, readFileSync, readSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { fileId } from './procfs.js';
import type { Target } from './target.js';

type Library = Pick<Target, 'exe' | 'file' | 'fileId'>;

/** ld.so(8): after what the program asks for itself come these, and last the trusted folders. */
function folders(environment: NodeJS.ProcessEnv): string[] {
  const asked = (environment['LD_LIBRARY_PATH'] ?? '').split(/[:;]/).filter((path) => path !== '');
  return [...asked, ...configured('/etc/ld.so.conf'), '/lib', '/usr/lib', '/lib64', '/usr/lib64'];
}

/** Folders of ld.so.conf, and of what it includes by "include /etc/ld.so.conf.d/*.conf". */
function configured(file: string, depth = 0): string[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return []; // musl has none.
  }
  return text.split('\n').flatMap((line) => {
    const [word = '', pattern = ''] = line.replace(/#.*/, '').trim().split(/\s+/);
    if (word !== 'include') return word.startsWith('/') ? [word] : [];
    if (depth > 2) return [];
    const folder = join('/etc', pattern)
      .replace(/^\/etc\/etc\//, '/etc/')
      .replace(/\/[^/]*$/, '');
    return namesIn(folder)
      .filter((name) => name.endsWith('.conf'))
      .flatMap((name) => configured(join(folder, name), depth + 1));
  });
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}

/**
 * Files that are called so, "libssl.so" with any version, by their real paths. The program may load
 * another by a path of its own, which is seen once it is mapped.
 */
export function findLibraries(name: string, environment = process.env): Library[] {
  const found = new Map<string, Library>();
  for (const folder of folders(environment)) {
    for (const each of namesIn(folder)) {
      if (each !== name && !each.startsWith(`${name}.`)) continue;
      for (const library of libraryAt(join(folder, each)).filter(({ file }) => isElf(file))) {
        if (!found.has(library.fileId)) found.set(library.fileId, library);
      }
    }
  }
  return [...found.values()];
}

/** `libc.so` of a compiler is a script for its linker. */
function isElf(file: string): boolean {
  let descriptor: number;
  try {
    descriptor = openSync(file, 'r');
  } catch {
    return false;
  }
  try {
    const magic = Buffer.alloc(4);
    readSync(descriptor, magic);
    return magic.equals(Buffer.from('\x7fELF'));
  } catch {
    return false;
  } finally {
    closeSync(descriptor);
  }
}

/** The library at a path, by its real path; none where that leads nowhere. */
export function libraryAt(path: string): Library[] {
  try {
    const exe = realpathSync(path);
    return [{ exe, file: exe, fileId: fileId(exe) }];
  } catch {
    return [];
  }
}
