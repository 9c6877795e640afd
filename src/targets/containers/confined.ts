/** Files of another root directory, such as the host's: links lead nowhere outside of it. */
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
} from 'node:fs';

const MOST_LINKS = 40;

/**
 * Follows links as a process would whose root this is. An absolute link would otherwise lead into
 * the root of whoever reads it. Null if there is nothing.
 */
function resolveWithin(root: string, path: string): string | null {
  const left = path.split('/');
  let done = '';
  for (let links = 0; ;) {
    const name = left.shift();
    if (name === undefined) return root + done;
    if (name === '' || name === '.') continue;
    if (name === '..') {
      done = done.slice(0, Math.max(0, done.lastIndexOf('/')));
      continue;
    }
    const next = `${done}/${name}`;
    const stat = lstatSync(root + next, { throwIfNoEntry: false });
    if (!stat) return null;
    if (!stat.isSymbolicLink()) {
      done = next;
      continue;
    }
    if (++links > MOST_LINKS) return null;
    const target = readlinkSync(root + next);
    if (target.startsWith('/')) done = '';
    left.unshift(...target.split('/'));
  }
}

/** Text of a regular file; null if there is none, it is too large or may not be read. */
export function readWithin(root: string, path: string, mostBytes: number): string | null {
  let file: number | null = null;
  try {
    const resolved = resolveWithin(root, path);
    if (resolved === null) return null;
    // Opening a pipe would wait for a writer.
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    file = openSync(resolved, flags);
    if (!fstatSync(file).isFile()) return null;
    // What it holds counts, not what its size says: it may grow.
    const buffer = Buffer.alloc(Math.min(fstatSync(file).size, mostBytes) + 1);
    let length = 0;
    while (length < buffer.length) {
      const count = readSync(file, buffer, length, buffer.length - length, null);
      if (count === 0) return buffer.toString('utf8', 0, length);
      length += count;
    }
    return null;
  } catch {
    return null;
  } finally {
    if (file !== null) closeSync(file);
  }
}

/** Names in a directory, no more than `most`; empty if it cannot be read. */
export function listWithin(root: string, path: string, most: number): string[] {
  try {
    const resolved = resolveWithin(root, path);
    return resolved === null ? [] : readdirSync(resolved).slice(0, most);
  } catch {
    return [];
  }
}
