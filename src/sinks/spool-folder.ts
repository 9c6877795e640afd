/**
 * The folder that holds a spool: ours alone, and held by one process. It is reached through its
 * descriptor, so that what happens to its path later changes nothing.
 */
import { constants } from 'node:fs';
import { chmod, type FileHandle, lstat, mkdir, open, rename, unlink } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { UnderspanError } from '../errors.js';
import { makeDirectory } from '../make-directory.js';

const FOLDER = 'otlp';
const LOCK = 'lock';

export interface SpoolFolder {
  /** Path of a file within. */
  file(name: string): string;
  /** Of the folder itself. */
  readonly path: string;
  close(): Promise<void>;
}

/**
 * Throws UnderspanError where the directory is not to be trusted, or another process holds it.
 * The segments are in a folder of their own within: what is given may be a volume, whose owner
 * and mode are not ours to choose.
 */
export async function openFolder(directory: string): Promise<SpoolFolder> {
  const path = join(directory, FOLDER);
  const handle = await openTrusted(directory, path).catch((error: unknown) => {
    if (error instanceof UnderspanError) throw error;
    throw new UnderspanError(
      'failed',
      'spool-directory',
      `the spool's directory ${directory} cannot be used: ${messageOf(error)}`,
      'it must be a directory that this process may write to',
      { cause: error },
    );
  });
  const root = `/proc/self/fd/${handle.fd}`;
  const file = (name: string): string => join(root, name);
  let server: Server;
  try {
    server = await takeLock(file(LOCK), directory);
  } catch (error) {
    await handle.close();
    throw error;
  }
  return {
    file,
    path: root,
    async close() {
      await new Promise((resolve) => server.close(resolve));
      await handle.close();
    },
  };
}

async function openTrusted(directory: string, path: string): Promise<FileHandle> {
  makeDirectory(directory, 0o700);
  const parent = await lstat(directory);
  const us = process.geteuid?.() ?? 0;
  if (!parent.isDirectory()) throw untrusted(directory, 'it is not a directory, or a link to one');
  if (parent.uid !== us && parent.uid !== 0) {
    throw untrusted(directory, `it belongs to user ${parent.uid}`);
  }
  await mkdir(path, { mode: 0o700 }).catch((error: unknown) => {
    if (codeOf(error) !== 'EEXIST') throw error;
  });
  const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
  const handle = await open(path, flags).catch((error: unknown) => {
    const code = codeOf(error);
    throw code === 'ENOTDIR' || code === 'ELOOP'
      ? untrusted(path, 'it is not a directory, or a link to one')
      : error;
  });
  const found = await handle.stat();
  if (found.uid !== us) {
    await handle.close();
    throw untrusted(path, `it belongs to user ${found.uid}`);
  }
  if ((found.mode & 0o077) !== 0) await chmod(`/proc/self/fd/${handle.fd}`, 0o700);
  return handle;
}

function untrusted(path: string, why: string): UnderspanError {
  return new UnderspanError(
    'not-permitted',
    'spool-directory',
    `${path} is not used as a spool: ${why}`,
    'give a directory that belongs to the user that runs this',
  );
}

/**
 * The lock is a socket that listens: unlike a file with a process id it ends with its process,
 * however that ends, and means the same in every PID namespace.
 */
async function takeLock(path: string, directory: string): Promise<Server> {
  for (let attempt = 0; attempt < 3; attempt++) {
    const server = await listen(path);
    if (server) return server;
    if (await isHeld(path)) break;
    // Left by a process that was killed. Another may have taken it since: look at what was moved.
    const aside = `${path}.${process.pid}`;
    const moved = await rename(path, aside).then(
      () => true,
      () => false,
    );
    if (!moved) continue;
    if (await isHeld(aside)) {
      await rename(aside, path);
      break;
    }
    await unlink(aside);
  }
  throw new UnderspanError(
    'failed',
    'spool-in-use',
    `another process uses the spool in ${directory}`,
    'give each its own directory',
  );
}

/** null: the path is taken. */
function listen(path: string): Promise<Server | null> {
  return new Promise((resolve, reject) => {
    const server = createServer((connection) => connection.destroy());
    server.once('error', (error) => {
      if (codeOf(error) === 'EADDRINUSE') resolve(null);
      else reject(error);
    });
    server.listen(path, () => {
      server.unref();
      resolve(server);
    });
  });
}

function isHeld(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = connect(path);
    const done = (held: boolean): void => {
      connection.destroy();
      resolve(held);
    };
    connection.once('connect', () => done(true));
    // A full backlog is that of a living process.
    connection.once('error', (error) => done(codeOf(error) === 'EAGAIN'));
  });
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
