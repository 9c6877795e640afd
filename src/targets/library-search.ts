/** Where the dynamic linker would look for a library, for a command that does not run yet. */
import { readdirSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { fileId } from './procfs.js';
import type { Target } from './target.js';

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
export function findLibraries(
  name: string,
  environment = process.env,
): Pick<Target, 'exe' | 'file' | 'fileId'>[] {
  const found = new Map<string, Pick<Target, 'exe' | 'file' | 'fileId'>>();
  for (const folder of folders(environment)) {
    for (const each of namesIn(folder)) {
      if (each !== name && !each.startsWith(`${name}.`)) continue;
      try {
        const exe = realpathSync(join(folder, each));
        const id = fileId(exe);
        if (!found.has(id)) found.set(id, { exe, file: exe, fileId: id });
      } catch {
        // A link that leads nowhere.
      }
    }
  }
  return [...found.values()];
}
