/** The socket on the node: only its owner, root, may connect. */
import { chmodSync, lstatSync, rmSync, statSync } from 'node:fs';
import type { Server } from 'node:http';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { UnderspanError } from '../../errors.js';
import { makeDirectory } from '../../make-directory.js';

/** Takes the place of a socket whose agent is gone; that of one that lives is an error. */
export async function listenOnSocket(server: Server, path: string): Promise<void> {
  prepareDirectory(dirname(path));
  await removeStale(path);
  // The socket is there before its mode can be set; nobody else may connect meanwhile.
  const before = process.umask(0o177);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => reject(cannotListen(path, error.message)));
      server.listen(path, resolve);
      // It was bound by now.
      process.umask(before);
    });
  } finally {
    process.umask(before);
  }
  chmodSync(path, 0o600);
}

function prepareDirectory(directory: string): void {
  try {
    // Whatever the umask is.
    if (makeDirectory(directory)) chmodSync(directory, 0o755);
  } catch (error) {
    throw cannotListen(directory, error instanceof Error ? error.message : String(error));
  }
  const stat = statSync(directory);
  const sticky = (stat.mode & 0o1000) !== 0;
  const foreign = stat.uid !== 0 && stat.uid !== process.geteuid?.();
  // Whoever may rename in there could put a socket of their own in its place.
  if (foreign || ((stat.mode & 0o022) !== 0 && !sticky)) {
    throw cannotListen(directory, 'others than root may change what is in this directory');
  }
}

async function removeStale(path: string): Promise<void> {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (!stat) return;
  if (!stat.isSocket()) throw cannotListen(path, 'there is something else of this name');
  if (await answers(path)) {
    throw new UnderspanError(
      'failed',
      'SOCKET_IN_USE',
      `another agent listens on ${path}`,
      'stop it, or set control.socket to another path',
    );
  }
  rmSync(path, { force: true });
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') resolve(false);
      else reject(cannotListen(path, error.message));
    });
  });
}

const cannotListen = (path: string, reason: string): UnderspanError =>
  new UnderspanError(
    'failed',
    'SOCKET_UNUSABLE',
    `the agent cannot listen on ${path}: ${reason}`,
    'set control.socket to a path that is its own, such as /run/underspan/agent.sock',
  );
