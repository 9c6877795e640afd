import assert from 'node:assert/strict';
import { once } from 'node:events';
import { execFile, spawn } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  openSync,
  existsSync,
  lstatSync,
  mkdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import type { SessionInfo } from '../../src/agent/control/protocol.js';
import { loadNative } from '../../src/native/load.js';
import type { Native } from '../../src/native/native.js';
import { ask, controlServer, Lines, withControl, WISHES } from '../tools/control.js';
import { inFolder } from '../tools/folder.js';
import { requireRoot } from '../tools/require.js';

test('the socket is for its owner alone, and gone afterwards', async () => {
  let path = '';
  await withControl({}, async ({ socket }) => {
    path = socket;
    assert.equal(lstatSync(socket).mode & 0o777, 0o600);
    assert.equal(statSync(dirname(socket)).mode & 0o777, 0o755);
  });
  assert.ok(!existsSync(path));
});

test('the socket of an agent that was killed is replaced, that of a live one is not', async () => {
  await inFolder(async (folder) => {
    const control = controlServer(folder);
    mkdirSync(dirname(control.socket));
    // Leaves its socket behind.
    const killed = spawn(process.execPath, [
      '-e',
      'require("net").createServer().listen(process.argv[1], () => process.kill(process.pid, 9))',
      control.socket,
    ]);
    await once(killed, 'exit');
    assert.ok(lstatSync(control.socket).isSocket());
    await control.server.start();
    try {
      await assert.rejects(controlServer(folder).server.start(), { code: 'SOCKET_IN_USE' });
      assert.equal((await ask(control.socket, 'GET', '/v1/version')).status, 200);
    } finally {
      await control.server.close('the test is over');
    }
  });
});

test('what is no socket is left alone', async () => {
  await inFolder(async (folder) => {
    const { server, socket } = controlServer(folder);
    mkdirSync(dirname(socket));
    writeFileSync(socket, 'precious');
    await assert.rejects(server.start(), { code: 'SOCKET_UNUSABLE' });
    assert.ok(lstatSync(socket).isFile());
  });
  await inFolder(async (folder) => {
    const { server, socket } = controlServer(folder);
    mkdirSync(dirname(socket));
    const elsewhere = join(folder, 'other.sock');
    const other = createServer().listen(elsewhere);
    await once(other, 'listening');
    symlinkSync(elsewhere, socket);
    await assert.rejects(server.start(), { code: 'SOCKET_UNUSABLE' });
    other.close();
  });
});

test('a directory that others may change is no place for it', async () => {
  await inFolder(async (folder) => {
    const { server, socket } = controlServer(folder);
    mkdirSync(dirname(socket));
    chmodSync(dirname(socket), 0o777);
    await assert.rejects(server.start(), { code: 'SOCKET_UNUSABLE' });
  });
});

test('a peer that is not root is not let in, whatever the mode of the socket', async () => {
  for (const peer of [{ pid: 1, uid: 12_345 }, null]) {
    const native = { peerCredentials: () => peer } as unknown as Native;
    await withControl({ native }, async ({ socket, engine }) => {
      for (const [method, path] of [
        ['GET', '/v1/sessions'],
        ['GET', '/v1/version'],
        ['DELETE', '/v1/sessions/x'],
      ] as const) {
        const { status, body } = await ask(socket, method, path);
        assert.deepEqual([status, body.error?.code], [401, 'NOT_LET_IN']);
        assert.equal(body.error?.kind, 'not-permitted');
      }
      assert.equal((await ask(socket, 'POST', '/v1/sessions', WISHES)).status, 401);
      assert.deepEqual(engine.traces, []);
    });
  }
});

test('the kernel says who connects', async (t) => {
  if (!requireRoot(t)) return;
  await withControl({ native: loadNative() }, async ({ socket, folder }) => {
    for (const path of [folder, dirname(socket)]) chmodSync(path, 0o755);
    const open = await Lines.open(socket, WISHES);
    const [own] = (await ask(socket, 'GET', '/v1/sessions')).body['sessions'] as SessionInfo[];
    assert.deepEqual([own?.who, own?.peer], ['uid 0', `socket, pid ${process.pid}`]);
    open.response.destroy();
    // As if somebody had opened it to all.
    chmodSync(socket, 0o666);
    const script = `require('http').get({ socketPath: process.argv[1], path: '/v1/version' },
      ({ statusCode }) => console.log(statusCode))`;
    const { stdout } = await promisify(execFile)(process.execPath, ['-e', script, socket], {
      uid: 65_534,
    });
    assert.equal(stdout, '401\n');
  });
});

test('what is no Unix socket has no peer', () => {
  const native = loadNative();
  assert.equal(native.peerCredentials(-1), null);
  const descriptor = openSync('/dev/null', 'r');
  assert.equal(native.peerCredentials(descriptor), null);
  closeSync(descriptor);
});
